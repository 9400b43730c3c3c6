//! Reports made of parts, for the rules' tests.

use super::rule::{Found, Rule};
use crate::report::fixture;
use crate::report::model::{Blocker, Blocking, LedgerPart, Query, Report, Unfinished};
use crate::vocabulary::Role;

/// A part of so many milliseconds and 100 times; `event` as `Type:Event`.
pub fn part(state: &'static str, event: &'static str, cause: Option<&'static str>, ms: u64) -> LedgerPart {
    fixture::part(state, event, cause, ms * 1_000_000, 100)
}

/// A report of 1,000 statements of one class whose time is made of these parts.
pub fn report_of(parts: Vec<LedgerPart>) -> Report {
    let mut report = fixture::idle();
    report.statements.count = 1_000;
    report.statements.ledger = fixture::ledger(parts);
    report.queries = vec![Query {
        query: "UPDATE t SET a = $1".into(),
        calls: 1_000,
        ledger: report.statements.ledger.clone(),
        ..Query::default()
    }];
    report
}

/// As [`report_of`]: (state, `Type:Event`, milliseconds).
pub fn report(parts: &[(&'static str, &'static str, u64)]) -> Report {
    report_of(parts.iter().map(|&(state, event, ms)| part(state, event, None, ms)).collect())
}

/// As [`report_of`], all blocked but for as much on CPU as is said: (`Type:Event`, cause, milliseconds).
pub fn caused(cpu: u64, parts: &[(&'static str, &'static str, u64)]) -> Report {
    let blocked = parts.iter().map(|&(event, cause, ms)| part("blocked", event, Some(cause), ms));
    report_of(blocked.chain([part("cpu", "", None, cpu)]).collect())
}

/// A statement still open at the end that spent its time like this.
pub fn open(pid: u32, state: &'static str, event: &'static str, ms: u64) -> Unfinished {
    Unfinished {
        pid,
        query: Some("ALTER TABLE orders ADD COLUMN note text".into()),
        elapsed_ns: ms * 1_000_000,
        ledger: fixture::ledger(vec![part(state, event, None, ms)]),
        ..Unfinished::default()
    }
}

/// A wait under `Lock:event` for a backend in this state.
pub fn blocking(event: &str, pid: u32, state: &str, ms: u64) -> Blocking {
    Blocking {
        wait_event_type: "Lock".into(),
        wait_event: event.into(),
        query: "UPDATE t SET a = $1".into(),
        pids: vec![21, 22],
        count: 4,
        total_ns: ms * 1_000_000,
        max_ns: ms * 500_000,
        blocker: Blocker {
            pid,
            role: Role::ClientBackend.into(),
            state: fixture::word(state),
            query: Some("UPDATE t SET b = $1".into()),
            running_ns: 3_000_000,
            idle_in_transaction_ns: if state == "idle in transaction" { 9_000_000_000 } else { 0 },
        },
        ..Blocking::default()
    }
}

/// What the rule finds, which must come with evidence and advice.
pub fn find(rule: &Rule, report: &Report) -> Option<Found> {
    let found = (rule.find)(report)?;
    assert!(!found.title.is_empty() && !found.advice.is_empty() && !found.evidence.is_empty(), "{found:?}");
    assert!(found.evidence.iter().any(|line| line.contains(|c: char| c.is_ascii_digit())), "{:?}", found.evidence);
    Some(found)
}
