//! Backends whose cgroup somebody froze: a paused container, a snapshot or a migration of it.

use super::one_cause::OneCause;
use super::rule::{Confidence, Rule};
use crate::vocabulary::Cause;

pub const RULE: Rule =
    Rule { id: "frozen", about: |part| WAITS.is_about(part), symptom: false, find: |report| WAITS.find(report) };

const WAITS: OneCause = OneCause {
    cause: Cause::Frozen,
    confidence: Confidence::High,
    wait: "freeze",
    title: "the server's cgroup was frozen",
    advice: "Somebody stopped the whole group: a container that was paused (docker pause, a checkpoint or migration of \
             it), a snapshot that freezes first, or systemctl freeze. Look into the log of the container's runtime at \
             that time; what the backends hold locked stays locked meanwhile.",
};

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_freeze_is_named() {
        let find = |cause| testing::find(&RULE, &testing::caused(400, &[("", cause, 600)]));
        let found = find("frozen").unwrap();
        assert_eq!(found.title, "60.0 % of statement time the server's cgroup was frozen");
        assert_eq!(found.explained_ns, 600_000_000);
        assert_eq!(find("other"), None);
    }
}
