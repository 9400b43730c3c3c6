//! Backends whose cgroup somebody froze: a paused container, a snapshot or a migration of it.

use super::rule::{Confidence, Found, Rule};
use super::time::{caused, cost, events, in_waits, is_notable, listed, percent, severity_of, worst_statement};
use crate::report::model::{LedgerPart, Report};

pub const RULE: Rule = Rule { id: "frozen", about: is_frozen, symptom: false, find };

fn is_frozen(part: &LedgerPart) -> bool {
    caused(part, &["frozen"])
}

fn find(report: &Report) -> Option<Found> {
    let cost = cost(report, is_frozen);
    if !is_notable(report, cost.ns) {
        return None;
    }
    let mut evidence =
        vec![in_waits(&cost, "freeze"), format!("meanwhile in {}", listed(&events(report, is_frozen), 3))];
    evidence.extend(worst_statement(report, is_frozen));
    Some(Found {
        severity: severity_of(cost.share),
        confidence: Confidence::High,
        title: format!("{} of statement time the server's cgroup was frozen", percent(cost.share)),
        evidence,
        advice: "Somebody stopped the whole group: a container that was paused (docker pause, a checkpoint or migration of \
                 it), a snapshot that freezes first, or systemctl freeze. Look into the log of the container's runtime at \
                 that time; what the backends hold locked stays locked meanwhile."
            .into(),
        explained_ns: cost.ns,
    })
}

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
