//! Commits that wait for another one's flush of the write-ahead log.

use super::rule::{Confidence, Found, Rule};
use super::time::{cost, duration, in_waits, notable, number, percent, severity_of, worst_statement};
use super::wal::{is_queue, is_slow, is_sync, syncs};
use crate::report::model::Report;

pub const RULE: Rule = Rule { id: "group_commit", about: is_queue, symptom: false, find };

fn find(report: &Report) -> Option<Found> {
    let queue = notable(report, is_queue)?;
    let sync = cost(report, is_sync);
    let mut evidence = vec![in_waits(&queue, "wait") + " of LWLock:WALWrite"];
    evidence.push(format!("{} in the flushes themselves (IO:WALSync, IO:WALWrite)", duration(sync.ns)));
    let wal = syncs(report);
    if wal.count > 0 {
        evidence.push(format!("{} syncs of WAL files, {} each", number(wal.count), duration(wal.mean as u64)));
    }
    evidence.extend(worst_statement(report, is_queue));
    let slow = is_slow(report);
    let flush = if wal.count > 0 { Some(wal.mean as u64) } else { sync.ns.checked_div(sync.count) };
    let each = flush.map_or(String::new(), |ns| format!(" ({} each)", duration(ns)));
    Some(Found {
        severity: severity_of(queue.share),
        confidence: if slow { Confidence::Medium } else { Confidence::High },
        title: format!(
            "{} of statement time is commits waiting for each other's flush of the WAL{each}",
            percent(queue.share)
        ),
        evidence,
        advice: if slow {
            "Each flush is slow and many wait for it: move pg_wal to a faster disk, commit less often (several changes \
             in one transaction), or synchronous_commit = off for what may be lost in a crash. commit_delay (a part of \
             a flush's time, with commit_siblings) lets more commits share one."
        } else {
            "Commit less often: several changes in one transaction, COPY instead of single inserts. commit_delay (some \
             100 µs, with commit_siblings) lets more commits share a flush; synchronous_commit = off for what may be \
             lost in a crash; a faster device below pg_wal shortens every flush."
        }
        .into(),
        explained_ns: queue.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::super::{evaluate, slow_wal_sync};
    use super::*;

    #[test]
    fn many_commits_behind_a_fast_disk() {
        let report = |event: &'static str, ms| {
            testing::report(&[("cpu", "", 300), ("blocked", "IO:WALSync", 100), ("blocked", event, ms)])
        };
        for event in ["LWLock:WALWrite", "LWLock:WALWriteLock"] {
            let found = find(&RULE, &report(event, 600)).unwrap();
            assert_eq!(
                found.title,
                "60.0 % of statement time is commits waiting for each other's flush of the WAL (1.00 ms each)"
            );
            assert!(found.evidence[0].starts_with("600 ms in 100 waits"), "{:?}", found.evidence);
            assert!(found.advice.contains("commit_delay"));
            assert_eq!(evaluate(&report(event, 600))[0].id, "group_commit");
        }
        assert_eq!(find(&RULE, &report("LWLock:WALWrite", 20)), None);
        assert_eq!(find(&RULE, &report("LWLock:BufferContent", 600)), None);
    }

    #[test]
    fn a_slow_disk_comes_first() {
        let report = testing::report(&[("blocked", "IO:WalSync", 1_000), ("blocked", "LWLock:WALWrite", 900)]);
        let found = evaluate(&report);
        let ids: Vec<&str> = found.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids[..2], [slow_wal_sync::RULE.id, RULE.id]);
    }
}
