//! The engine: what stands where, and that nothing is said without a reason.

use std::collections::BTreeSet;

use super::testing::{blocking, open};
use super::*;
use crate::report::fixture;

fn ids(report: &Report) -> Vec<String> {
    evaluate(report).into_iter().map(|finding| finding.id).collect()
}

#[test]
fn the_worst_comes_first() {
    let mut report = fixture::busy();
    report.fsync.errors = 1;
    report.fsync.by[2].errors = 1;
    let found = evaluate(&report);
    assert_eq!(found[0].id, "fsync_errors");
    let times: Vec<u64> = found[1..].iter().map(|one| one.explained_ns).collect();
    assert!(times.iter().any(|&ns| ns > 0), "{found:?}");
    for (one, next) in found[1..].iter().zip(&found[2..]) {
        assert!(one.explained_ns >= next.explained_ns || next.id == "stuck_statement", "{found:?}");
    }
}

#[test]
fn much_time_comes_before_severity() {
    let report = testing::report(&[("blocked", "Timeout:PgSleep", 600), ("blocked", "Client:ClientWrite", 350)]);
    assert_eq!(ids(&report), ["sleep", "client_slow"], "an info of 63 % before a warning of 37 %");
}

#[test]
fn nothing_is_said_without_evidence() {
    assert_eq!(evaluate(&fixture::idle()), []);
    assert_eq!(evaluate(&Report::default()), []);
    for finding in evaluate(&fixture::busy()) {
        assert!(!finding.evidence.is_empty() && !finding.advice.is_empty(), "{finding:?}");
        assert!(["high", "medium", "low"].contains(&finding.confidence.as_str()), "{finding:?}");
    }
}

#[test]
fn ids_are_unique() {
    let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), RULES.len());
}

/// The case of three in the morning: one forgotten transaction, a DDL behind it, everybody behind that, and nothing
/// ends.
#[test]
fn an_idle_transaction_explains_what_is_stuck() {
    let mut report = testing::report(&[("cpu", "", 30), ("blocked", "IO:DataFileRead", 5)]);
    report.unfinished = (0..5).map(|n| open(100 + n, "blocked", "Lock:relation", 10_000)).collect();
    let mut ddl = blocking("relation", 4242, "idle in transaction", 9_900);
    ddl.waiting = 1;
    let mut queue = blocking("relation", 100, "waiting", 39_000);
    queue.waiting = 4;
    queue.chain = vec!["pid 100 (ALTER TABLE …) waits for Lock:relation of pid 4242".into()];
    report.blocking = vec![queue, ddl];
    assert_eq!(ids(&report), ["idle_in_transaction_lock", "relation_lock_queue", "stuck_statement"]);
    let found = evaluate(&report);
    assert_eq!((found[0].explained_ns, found[2].explained_ns), (48_900_000_000, 0));
}

#[test]
fn what_is_stuck_for_no_known_reason_comes_first() {
    let mut report = testing::report(&[("cpu", "", 600), ("runnable", "", 300)]);
    report.unfinished = vec![open(100, "blocked", "IPC:ProcSignalBarrier", 10_000)];
    assert_eq!(ids(&report)[0], "stuck_statement");
    assert_eq!(evaluate(&report)[0].explained_ns, 10_000_000_000);
}
