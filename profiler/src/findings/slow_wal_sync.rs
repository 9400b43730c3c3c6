//! Commits that wait for the write-ahead log to reach the disk.

use super::{duration, notable, number, percent, severity_of, waits, worst_query_line};
use crate::hist::Histogram;
use crate::report::model::{Finding, LedgerPart, Report};

fn is_wal_sync(part: &LedgerPart) -> bool {
    // Spelt WALSync up to 16, WalSync from 17 on. Those behind the one that syncs wait for the lock it holds.
    waits(part, "IO", "WALSync")
        || waits(part, "IO", "WALWrite")
        || waits(part, "LWLock", "WALWrite")
        || waits(part, "LWLock", "WALWriteLock")
}

pub fn rule(report: &Report) -> Option<Finding> {
    let cost = notable(report, is_wal_sync)?;
    let mut evidence = vec![format!(
        "{} of statement time ({}) in IO:WalSync, IO:WalWrite and LWLock:WALWrite",
        percent(cost.share),
        duration(cost.ns)
    )];
    let mut syncs = Histogram::new();
    for by in report.fsync.by.iter().filter(|by| by.file_kind == "wal") {
        if let Ok(hist) = Histogram::from_hist(&by.latency) {
            syncs.merge(&hist);
        }
    }
    let wal = syncs.summary();
    if wal.count > 0 {
        evidence.push(format!(
            "{} syncs of WAL files: p50 {}, p99 {}, max {}",
            number(wal.count),
            duration(wal.p50),
            duration(wal.p99),
            duration(wal.max)
        ));
    }
    evidence.extend(worst_query_line(report, is_wal_sync));
    let p99 = if wal.count > 0 { format!(" (sync p99 {})", duration(wal.p99)) } else { String::new() };
    Some(Finding {
        id: "slow_wal_sync".into(),
        severity: severity_of(cost.share),
        title: format!("{} of statement time is commits waiting for the WAL{p99}", percent(cost.share)),
        evidence,
        advice: "Put several changes into one transaction where each commits by itself; look at the latency of the \
                 disk below pg_wal; commit_delay groups concurrent commits; synchronous_commit = off only for what may \
                 be lost in a crash."
            .into(),
        explained_ns: cost.ns,
        confidence: "high".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::report::fixture;

    #[test]
    fn needs_a_notable_share() {
        let report = |ms| {
            testing::report(&[("cpu", "", 1_000), ("blocked", "IO:WALSync", ms), ("blocked", "LWLock:WALWrite", ms)])
        };
        assert_eq!(rule(&report(20)), None);
        assert_eq!(rule(&report(100)).unwrap().severity, "info");
        let found = rule(&report(500)).unwrap();
        assert_eq!((found.severity.as_str(), found.explained_ns), ("warning", 1_000_000_000));
        assert!(found.title.starts_with("50.0 % of statement time"), "{}", found.title);
    }

    #[test]
    fn cites_the_syncs() {
        let found = rule(&fixture::busy()).unwrap();
        assert!(found.evidence[1].starts_with("11,275 syncs of WAL files: p50 "), "{:?}", found.evidence);
    }
}
