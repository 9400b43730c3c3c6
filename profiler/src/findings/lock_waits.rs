//! Statements that wait for one another's heavyweight locks.

use super::{cost, duration, notable, number, percent, severity_of, waits, worst_query_line};
use crate::report::model::{Finding, LedgerPart, Report};

/// How to see who holds what others wait for.
const HOLDERS: &str = "find the holders with SELECT pid, pg_blocking_pids(pid), query FROM pg_stat_activity WHERE \
                       wait_event_type = 'Lock'";

fn is_lock(part: &LedgerPart) -> bool {
    waits(part, "Lock", "")
}

pub fn rule(report: &Report) -> Option<Finding> {
    let found = notable(report, is_lock)?;
    let parts = report.statements.ledger.parts.iter().filter(|part| is_lock(part));
    let mut kinds: Vec<&str> = parts.filter_map(|part| part.wait_event.as_deref()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.sort_by_key(|kind| std::cmp::Reverse(cost(&report.statements.ledger, |part| waits(part, "Lock", kind)).ns));
    let top = kinds.first().copied().unwrap_or("lock");
    let mut evidence = vec![format!("{} in {} waits for locks", duration(found.ns), number(found.count))];
    evidence.extend(kinds.iter().take(4).map(|kind| {
        let one = cost(&report.statements.ledger, |part| waits(part, "Lock", kind));
        format!("Lock:{kind}: {} ({})", duration(one.ns), percent(one.share))
    }));
    evidence.extend(worst_query_line(report, is_lock));
    Some(Finding {
        id: "lock_waits".into(),
        severity: severity_of(found.share),
        title: format!("{} of statement time is waiting for locks, mostly Lock:{top}", percent(found.share)),
        evidence,
        advice: match top {
            "transactionid" | "tuple" => format!(
                "Several transactions change the same rows: make the transactions of the statement above shorter; \
                 {HOLDERS}; log_lock_waits = on logs them."
            ),
            "relation" => format!(
                "A statement locks a whole table (DDL, VACUUM FULL, LOCK TABLE): {HOLDERS}; run DDL with a lock_timeout."
            ),
            _ => format!("To see who waits for whom, {HOLDERS}; log_lock_waits = on logs them."),
        },
        explained_ns: found.ns,
        confidence: "high".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn names_the_main_kind() {
        let report =
            testing::report(&[("cpu", "", 400), ("blocked", "Lock:relation", 500), ("blocked", "Lock:tuple", 100)]);
        let found = rule(&report).unwrap();
        assert_eq!(found.title, "60.0 % of statement time is waiting for locks, mostly Lock:relation");
        assert!(found.advice.contains("lock_timeout"));
        assert_eq!(found.evidence[..2], ["600 ms in 200 waits for locks", "Lock:relation: 500 ms (50.0 %)"]);
        assert_eq!(rule(&testing::report(&[("cpu", "", 400), ("blocked", "LWLock:tuple", 500)])), None);
    }
}
