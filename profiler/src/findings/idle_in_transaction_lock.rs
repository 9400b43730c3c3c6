//! Locks that a backend holds while its client does nothing: everybody behind it waits for an application.

use super::locks::{Waits, describe, idle_root, is_lock, lock_waits, look_at};
use super::rule::{Confidence, Found, Rule, Severity};
use super::time::{duration, is_notable, percent, severity_of, share, short, sql_pid};
use crate::report::model::{Blocker, Report};

pub const RULE: Rule = Rule { id: "idle_in_transaction_lock", about: is_lock, symptom: false, find };

/// A single wait this long is said, however busy the rest is, in nanoseconds.
const LONG_NS: u64 = 1_000_000_000;
/// Below this the holder's client was at work, and no session is to be ended, in nanoseconds.
const BRIEF_NS: u64 = 100_000_000;

fn find(report: &Report) -> Option<Found> {
    let waits = Waits::of(report, is_lock, lock_waits(report).filter(|one| idle_root(report, one).is_some()))?;
    if !is_notable(report, waits.ns) && waits.max_ns < LONG_NS {
        return None;
    }
    let holders = holders(report, &waits);
    let (worst, _) = *holders.first()?;
    let part = share(report, waits.ns);
    let mut evidence = vec![describe(report, worst), waits.summary(), waits.longest_waiter()];
    evidence.extend(waits.chain());
    evidence.extend(holders.iter().skip(1).take(3).map(|(other, ns)| {
        format!(
            "{} behind pid {}, idle too: {}",
            duration(*ns),
            other.pid,
            other.query.as_deref().map_or("".into(), short)
        )
    }));
    let pid = worst.pid;
    let application = report.backends.iter().find(|one| one.pid == pid).and_then(|one| one.application_name.as_deref());
    let application = application
        .filter(|name| !name.is_empty())
        .map_or(String::new(), |name| format!(" in its application, {name}"));
    Some(Found {
        severity: if waits.waiting > 0 { Severity::Warning } else { severity_of(part) },
        confidence: Confidence::High,
        title: format!(
            "{} of statement time is waiting for pid {pid}, idle in its transaction for {}",
            percent(part),
            duration(worst.idle_in_transaction_ns)
        ),
        evidence,
        advice: if waits.waiting == 0 && worst.idle_in_transaction_ns < BRIEF_NS {
            "Pauses this short are round trips: take the contended row last in the transaction, and send what comes after it \
             in fewer messages (a function, a pipeline)."
                .into()
        } else {
            format!(
                "End the transaction of pid {pid}{application}; in the last resort SELECT pg_terminate_backend({}). Set \
             idle_in_transaction_session_timeout, and let the application commit before it waits for anything else. \
             Whose it is: {}.",
                sql_pid(report, pid),
                look_at(report, pid)
            )
        },
        explained_ns: waits.ns,
    })
}

/// The idle ones and the time others waited for them, the worst first.
fn holders<'a>(report: &'a Report, waits: &Waits<'a>) -> Vec<(&'a Blocker, u64)> {
    let mut out: Vec<(&Blocker, u64)> = Vec::new();
    for one in &waits.all {
        let Some(root) = idle_root(report, one) else { continue };
        match out.iter_mut().find(|(known, _)| known.pid == root.pid) {
            Some((known, ns)) => {
                *ns += one.total_ns;
                if root.idle_in_transaction_ns > known.idle_in_transaction_ns {
                    *known = root;
                }
            }
            None => out.push((root, one.total_ns)),
        }
    }
    out.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, blocking, find, open};
    use super::*;

    /// Nothing that waits has ended: the finished statements are all fast.
    #[test]
    fn speaks_while_everybody_still_waits() {
        let mut report = testing::report(&[("cpu", "", 20)]);
        report.unfinished = (0..4).map(|n| open(100 + n, "blocked", "Lock:transactionid", 9_000)).collect();
        let mut one = blocking("transactionid", 4242, "idle in transaction", 36_000);
        one.waiting = 4;
        report.blocking = vec![one];
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.explained_ns, 36_000_000_000);
        assert_eq!(found.severity, Severity::Warning);
        assert_eq!(found.title, "99.9 % of statement time is waiting for pid 4242, idle in its transaction for 9.00 s");
        assert_eq!(
            found.evidence[..2],
            [
                "pid 4242 (client backend), idle in transaction for 9.00 s, last statement: UPDATE t SET b = $1",
                "2 backends waited 36.0 s in all, in 4 waits, the longest 18.0 s; 4 were still waiting at the end"
            ]
        );
        assert!(found.advice.contains("pg_terminate_backend(4242)"), "{}", found.advice);
        assert!(found.advice.contains("idle_in_transaction_session_timeout"));
    }

    #[test]
    fn a_queue_belongs_to_the_one_at_its_root() {
        let mut report = testing::report(&[("cpu", "", 100), ("blocked", "Lock:relation", 900)]);
        let mut queued = blocking("relation", 12, "waiting", 800);
        queued.chain = vec!["pid 12 (ALTER) waits for Lock:relation of pid 13".into()];
        report.blocking = vec![queued, blocking("relation", 13, "idle in transaction", 100)];
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.explained_ns, 900_000_000);
        assert!(found.title.contains("pid 13"), "{}", found.title);
    }

    #[test]
    fn is_silent_on_working_ones_and_on_trifles() {
        let mut report = testing::report(&[("cpu", "", 400), ("blocked", "Lock:tuple", 600)]);
        report.blocking = vec![blocking("tuple", 9, "active", 600)];
        assert_eq!(find(&RULE, &report), None);
        report.blocking = vec![blocking("tuple", 9, "idle in transaction", 20)];
        assert_eq!(find(&RULE, &report), None);
    }
}
