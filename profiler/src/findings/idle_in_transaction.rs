//! Transactions that stay open while their client does nothing, also when nobody waits: they hold back VACUUM.

use super::locks::{idle_root, look_at};
use super::rule::{Confidence, Found, Rule, Severity, nothing};
use super::time::{duration, number, sql_pid};
use crate::report::model::{Backend, Report};

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
    let longest = duration(worst.idle_in_transaction.max_ns);
    Some(Found {
        severity: Severity::Info,
        confidence: Confidence::High,
        title: match long.len() {
            1 => format!("pid {} was idle in its transaction for {longest}; nobody waited for it", worst.pid),
            n => format!("{n} backends were idle in their transactions, up to {longest}; nobody waited for them"),
        },
        evidence: evidence.collect(),
        advice: format!(
            "An open transaction keeps its locks and keeps VACUUM from removing what was deleted since: {}; if it is \
             forgotten, SELECT pg_terminate_backend({}). Set idle_in_transaction_session_timeout.",
            look_at(report, worst.pid),
            sql_pid(report, worst.pid)
        ),
        explained_ns: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{blocking, find};
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
        report.blocking = vec![blocking("tuple", 42, "idle in transaction", 900)];
        assert_eq!(find(&RULE, &report), None);
    }
}
