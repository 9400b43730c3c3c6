//! Backends that wait for the lock of their own address space: somebody else walks through it.

use super::rule::{Confidence, Found, Rule};
use super::time::{caused, cost, in_waits, is_notable, percent, severity_of, worst_statement};
use crate::report::model::{LedgerPart, Report};

pub const RULE: Rule = Rule { id: "mmap_lock", about: is_mmap_lock, symptom: false, find };

fn is_mmap_lock(part: &LedgerPart) -> bool {
    caused(part, &["mmap_lock"])
}

fn find(report: &Report) -> Option<Found> {
    let cost = cost(report, is_mmap_lock);
    if !is_notable(report, cost.ns) {
        return None;
    }
    let mut evidence = vec![in_waits(&cost, "wait for the lock of the backend's own memory")];
    evidence.extend(worst_statement(report, is_mmap_lock));
    Some(Found {
        severity: severity_of(cost.share),
        confidence: Confidence::Medium,
        title: format!("{} of statement time backends wait for the lock of their own memory", percent(cost.share)),
        evidence,
        advice: "A backend has one thread, so who holds the lock is another process that looks into its memory: an agent that \
                 reads /proc/PID/smaps, smaps_rollup or numa_maps (the larger shared_buffers, the longer), a debugger, a \
                 core dump. Let it read that less often, or memory.stat of the cgroup instead; huge_pages makes the walk \
                 short. Statements that take and give back much memory at a time meet it most."
            .into(),
        explained_ns: cost.ns,
    })
}

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
