//! Transactions that stay open while their client does nothing, also when nobody waits: they hold back VACUUM.

use super::locks::{idle_root, is_lock, lock_waits, look_at};
use super::rule::{Confidence, Found, Rule, Severity, nothing};
use super::time::{cost, duration, number, sql_pid, waits};
use crate::report::model::{Backend, LedgerPart, Report};

pub const RULE: Rule = Rule { id: "idle_in_transaction", about: nothing, symptom: false, find };

/// From this long on it counts: a client's round trips are shorter, in nanoseconds.
const LONG_NS: u64 = 1_000_000_000;

fn find(report: &Report) -> Option<Found> {
    // Those that others wait for are said by a rule of their own.
    let is_said = |pid| report.blocking.iter().any(|one| idle_root(report, one).is_some_and(|root| root.pid == pid));
    let is_long = |one: &&Backend| one.idle_in_transaction.max_ns >= LONG_NS && !is_said(one.pid);
    let mut long: Vec<&Backend> = report.backends.iter().filter(is_long).collect();
    long.sort_by_key(|one| std::cmp::Reverse(one.idle_in_transaction.max_ns));
    let worst = *long.first()?;
    let evidence = long.iter().take(4).map(|one| {
        let idle = &one.idle_in_transaction;
        format!(
            "pid {} (user {}, application {}): idle in transaction {} in {} pauses, the longest {}",
            one.pid,
            one.user.as_deref().unwrap_or("not known"),
            one.application_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("without a name"),
            duration(idle.total_ns),
            number(idle.count),
            duration(idle.max_ns)
        )
    });
    let pins = waited_for_pins(report);
    let pins = (pins > 0).then(|| {
        format!(
            "backends waited {} for buffer pins, which an open cursor keeps; who held them is not known",
            duration(pins)
        )
    });
    let longest = duration(worst.idle_in_transaction.max_ns);
    Some(Found {
        severity: Severity::Info,
        confidence: Confidence::High,
        title: match long.len() {
            1 => format!("pid {} was idle in its transaction for {longest}{}", worst.pid, who_waited(report, "it")),
            n => format!("{n} backends were idle in their transactions, up to {longest}{}", who_waited(report, "them")),
        },
        evidence: evidence.chain(pins).collect(),
        advice: format!(
            "An open transaction keeps its locks and keeps VACUUM from removing what was deleted since: {}; if it is \
             forgotten, SELECT pg_terminate_backend({}). Set idle_in_transaction_session_timeout.",
            look_at(report, worst.pid),
            sql_pid(report, worst.pid)
        ),
        explained_ns: 0,
    })
}

/// Time that statements, and processes without a client, waited for the pin of a buffer. Who holds one is not known: it may
/// be a transaction that is idle.
fn waited_for_pins(report: &Report) -> u64 {
    let outside = report.backends.iter().flat_map(|backend| &backend.outside.parts);
    let outside: u64 = outside.filter(|part| is_pin(part)).map(|part| part.ns).sum();
    cost(report, is_pin).ns + outside
}

fn is_pin(part: &LedgerPart) -> bool {
    waits(part, "BufferPin", "")
}

/// What the report knows of those who waited for an idle transaction: every wait for a lock has its holder, where the report
/// has holders at all.
fn who_waited(report: &Report, whom: &str) -> String {
    let is_complete = lock_waits(report).next().is_some() || cost(report, is_lock).ns == 0;
    if is_complete && waited_for_pins(report) == 0 { format!("; nobody waited for {whom}") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, blocking, find, part, report_of};
    use super::*;
    use crate::report::model::IdleInTransaction;

    #[test]
    fn long_ones_are_said_once() {
        let mut report = Report::default();
        let idle = |ns| IdleInTransaction { count: 3, total_ns: ns + 5, max_ns: ns };
        let backend =
            |pid, ns| Backend { pid, namespace_pid: Some(7), idle_in_transaction: idle(ns), ..Backend::default() };
        report.backends = vec![backend(41, 900_000), backend(42, 8_000_000_000)];
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.title, "pid 42 was idle in its transaction for 8.00 s; nobody waited for it");
        assert!(found.evidence[0].contains("8.00 s in 3 pauses"), "{:?}", found.evidence);
        assert!(found.advice.contains("pg_terminate_backend(7)"), "the server's own number: {}", found.advice);
        let pin = |ms| vec![part("blocked", "BufferPin:BufferPin", Some("futex"), ms)];
        let pinned = Report { backends: report.backends.clone(), ..report_of(pin(3_000)) };
        let found = find(&RULE, &pinned).unwrap();
        assert_eq!(found.title, "pid 42 was idle in its transaction for 8.00 s", "it may hold the pin");
        assert!(found.evidence[1].starts_with("backends waited 3.00 s for buffer pins"), "{:?}", found.evidence);
        let mut vacuum = report.clone();
        vacuum.backends[0].outside.parts = pin(10);
        assert!(
            !find(&RULE, &vacuum).unwrap().title.contains("nobody"),
            "a worker of autovacuum waits outside statements"
        );
        let unknown = testing::report(&[("blocked", "Lock:tuple", 500)]);
        let unknown = Report { backends: report.backends.clone(), ..unknown };
        assert!(!find(&RULE, &unknown).unwrap().title.contains("nobody"), "no holder is known");
        report.blocking = vec![blocking("tuple", 42, "idle in transaction", 900)];
        assert_eq!(find(&RULE, &report), None);
    }
}
