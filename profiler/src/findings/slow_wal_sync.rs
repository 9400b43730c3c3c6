//! Commits that wait for the write-ahead log to reach the disk.

use super::rule::{Confidence, Found, Rule};
use super::time::{cost, duration, is_notable, listed, number, percent, severity_of, share, worst_statement};
use super::wal::{is_queue, is_slow, is_sync, syncs};
use crate::report::model::{LedgerPart, Report};

pub const RULE: Rule = Rule { id: "slow_wal_sync", about: is_sync, symptom: false, find };

fn is_either(part: &LedgerPart) -> bool {
    is_sync(part) || is_queue(part)
}

fn find(report: &Report) -> Option<Found> {
    let (sync, queue) = (cost(report, is_sync), cost(report, is_queue));
    let slow = is_slow(report);
    // A slow sync is to blame for the queue behind it too. Where the queue is the longer one, so many commit at a time
    // that its own rule comes first, and this one stays behind it with the sync alone.
    let blamed = sync.ns + if slow { queue.ns } else { 0 };
    if sync.ns == 0 || !is_notable(report, blamed) {
        return None;
    }
    let with_queue = slow && sync.ns >= queue.ns;
    let ns = if with_queue { blamed } else { sync.ns };
    let part = share(report, ns);
    let mut evidence = vec![format!(
        "{} of statement time: {}",
        duration(ns),
        listed(&super::time::events(report, if with_queue { is_either } else { is_sync }), 4)
    )];
    let wal = syncs(report);
    if wal.count > 0 {
        evidence.push(format!(
            "{} syncs of WAL files: p50 {}, p99 {}, max {}",
            number(wal.count),
            duration(wal.p50),
            duration(wal.p99),
            duration(wal.max)
        ));
    } else if sync.count > 0 {
        evidence.push(format!("{} waits for it, {} each", number(sync.count), duration(sync.ns / sync.count)));
    }
    evidence.extend(worst_statement(report, is_either));
    let p99 = if wal.count > 0 { format!(" (sync p99 {})", duration(wal.p99)) } else { String::new() };
    Some(Found {
        severity: severity_of(part),
        confidence: Confidence::High,
        title: format!("{} of statement time is commits waiting for the disk below pg_wal{p99}", percent(part)),
        evidence,
        advice: "Put several changes into one transaction where each commits by itself; move pg_wal to a faster disk \
                 (its latency: SYNCS BY FILE below, iostat -x); \
                 synchronous_commit = off only for what may be lost in a crash."
            .into(),
        explained_ns: ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::rule::Severity;
    use super::super::testing::{self, find};
    use super::*;
    use crate::report::fixture;

    /// 100 waits: as many milliseconds in all make a mean of a hundredth.
    #[test]
    fn needs_a_notable_share() {
        let report = |ms| {
            testing::report(&[("cpu", "", 1_000), ("blocked", "IO:WALSync", ms), ("blocked", "LWLock:WALWrite", ms)])
        };
        assert_eq!(find(&RULE, &report(20)), None);
        let found = find(&RULE, &report(200)).unwrap();
        assert_eq!((found.severity, found.explained_ns), (Severity::Info, 200_000_000), "fast: not the queue");
        let found = find(&RULE, &report(500)).unwrap();
        assert_eq!((found.severity, found.explained_ns), (Severity::Warning, 1_000_000_000), "slow: the queue too");
        assert!(found.title.starts_with("50.0 % of statement time"), "{}", found.title);
        let many = testing::report(&[("blocked", "IO:WALSync", 500), ("blocked", "LWLock:WALWrite", 9_000)]);
        assert_eq!(find(&RULE, &many).unwrap().explained_ns, 500_000_000, "slow, but the queue is longer");
        let queue = testing::report(&[("cpu", "", 1_000), ("blocked", "LWLock:WALWrite", 1_000)]);
        assert_eq!(find(&RULE, &queue), None);
    }

    #[test]
    fn cites_the_syncs() {
        let found = find(&RULE, &fixture::busy()).unwrap();
        assert!(found.evidence[1].starts_with("11,275 syncs of WAL files: p50 "), "{:?}", found.evidence);
    }
}
