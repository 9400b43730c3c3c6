//! Backends that wait for the lock of their own address space: somebody else walks through it.

use super::one_cause::OneCause;
use super::rule::{Confidence, Rule};
use crate::vocabulary::Cause;

pub const RULE: Rule =
    Rule { id: "mmap_lock", about: |part| WAITS.is_about(part), symptom: false, find: |report| WAITS.find(report) };

const WAITS: OneCause = OneCause {
    cause: Cause::MmapLock,
    confidence: Confidence::Medium,
    wait: "wait for the lock of the backend's own memory",
    title: "backends wait for the lock of their own memory",
    advice: "A backend has one thread, so who holds the lock is another process that looks into its memory: an agent that \
             reads /proc/PID/smaps, smaps_rollup or numa_maps (the larger shared_buffers, the longer), a debugger, a \
             core dump. Let it read that less often, or memory.stat of the cgroup instead; huge_pages makes the walk \
             short. Statements that take and give back much memory at a time meet it most.",
};

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_lock_is_named() {
        let find = |cause| testing::find(&RULE, &testing::caused(700, &[("", cause, 300)]));
        let found = find("mmap_lock").unwrap();
        assert_eq!(found.title, "30.0 % of statement time backends wait for the lock of their own memory");
        assert_eq!(found.explained_ns, 300_000_000);
        assert_eq!(find("other"), None);
    }
}
