//! Backends that wait for the server's own short locks: too many of them do the same thing at once.

use super::rule::{Confidence, Found, Rule};
use super::time::{duration, events, in_waits, listed, notable, percent, severity_of, waits, worst_statement};
use super::wal::is_queue;
use crate::report::model::{LedgerPart, Report};

pub const RULE: Rule = Rule { id: "lwlock_contention", about: is_lwlock, symptom: false, find };

fn is_lwlock(part: &LedgerPart) -> bool {
    // Of these, 18 makes one to wait for another's reads by io_uring: that is a read.
    waits(part, "LWLock", "") && !is_queue(part) && !waits(part, "LWLock", "AioUringCompletion")
}

fn find(report: &Report) -> Option<Found> {
    let cost = notable(report, is_lwlock)?;
    let events = events(report, is_lwlock);
    let top = events.first().map_or("LWLock", |(name, _)| name);
    let mut evidence = vec![in_waits(&cost, "wait") + " for LWLocks", listed(&events, 4)];
    evidence.extend(cost.each("a wait"));
    let of = |one: &&crate::report::model::Blocking| one.wait_event_type.eq_ignore_ascii_case("LWLock");
    let worst = report.blocking.iter().filter(of).max_by_key(|one| one.total_ns);
    evidence.extend(worst.map(|one| {
        format!("{} of it until {} let go", duration(one.total_ns), super::locks::describe(report, &one.blocker))
    }));
    evidence.extend(worst_statement(report, is_lwlock));
    Some(Found {
        severity: severity_of(cost.share),
        confidence: Confidence::Medium,
        title: format!("{} of statement time is waiting for the server's own locks, mostly {top}", percent(cost.share)),
        evidence,
        advice: advice(top.strip_prefix("LWLock:").unwrap_or(top)).into(),
        explained_ns: cost.ns,
    })
}

/// What helps against each; the names are those of src/backend/storage/lmgr/lwlock.c and lwlocklist.h.
fn advice(event: &str) -> &'static str {
    let event = event.to_ascii_lowercase();
    let is = |names: &[&str]| names.iter().any(|name| event == name.to_ascii_lowercase());
    if is(&["WALInsert", "WALBufMapping"]) {
        "Many backends write WAL at once: fewer and larger transactions, COPY instead of single inserts, fewer indexes \
         on the tables written; wal_buffers larger (it is fixed at start) where WALBufMapping leads; full_page_writes \
         cost less with a longer checkpoint_timeout and a larger max_wal_size."
    } else if is(&["BufferMapping"]) {
        "The pages wanted do not fit into shared_buffers and are replaced all the time: raise shared_buffers towards \
         the size of the working set, and look at statements that scan whole tables for want of an index."
    } else if is(&["BufferContent", "BufferIO"]) {
        "Many backends want the same pages: an index that only grows at its right end (a sequence, a timestamp: hash \
         partitions or a random key spread it), one hot row, or readers of a page while it is written. The statement \
         above names the table."
    } else if is(&["LockManager", "LockFastPath"]) {
        "Statements lock more relations than the fast path holds (16 up to version 17, then by \
         max_locks_per_transaction): fewer partitions and indexes per statement, plans that prune partitions, prepared \
         statements, fewer connections at a time."
    } else if is(&["ProcArray", "XidGen", "XactBuffer", "XactSLRU"]) {
        "Many connections take snapshots and end transactions at once: fewer connections at a time (a pooler towards \
         the number of CPUs); fewer transactions that change a single row."
    } else if event.starts_with("subtrans") {
        "Transactions with more than 64 subtransactions (SAVEPOINT, PL/pgSQL blocks with EXCEPTION) overflow the \
         cache while an old snapshot is open: fewer savepoints per transaction, no long transactions beside them; \
         subtransaction_buffers from version 17 on."
    } else if event.starts_with("multixact") {
        "Many transactions lock the same rows in share mode (foreign keys, SELECT FOR SHARE): fewer at a time on the \
         same parent row; multixact_offset_buffers and multixact_member_buffers from version 17 on."
    } else {
        "Look at what the statement above does many times at once, and lower the number of connections that do it at \
         the same time; the manual's table of LWLock wait events says what this one guards."
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;

    #[test]
    fn advice_depends_on_the_lock() {
        for (event, wanted) in [
            ("LWLock:WALInsert", "COPY"),
            ("LWLock:BufferMapping", "shared_buffers"),
            ("LWLock:BufferContent", "hot row"),
            ("LWLock:LockManager", "partitions"),
            ("LWLock:ProcArray", "pooler"),
            ("LWLock:SubtransSLRU", "SAVEPOINT"),
            ("LWLock:SubtransBuffer", "SAVEPOINT"),
            ("LWLock:MultiXactOffsetSLRU", "multixact_offset_buffers"),
            ("LWLock:Autovacuum", "manual"),
        ] {
            let found = find(&RULE, &testing::report(&[("cpu", "", 400), ("blocked", event, 600)])).unwrap();
            assert!(found.advice.contains(wanted), "{event}: {}", found.advice);
            assert!(found.title.ends_with(event), "{}", found.title);
            assert_eq!(found.evidence[0], "600 ms in 100 waits for LWLocks");
        }
    }

    #[test]
    fn the_wal_has_a_rule_of_its_own() {
        let report = testing::report(&[("cpu", "", 400), ("blocked", "LWLock:WALWrite", 600)]);
        assert_eq!(find(&RULE, &report), None);
        assert_eq!(find(&RULE, &testing::report(&[("cpu", "", 400), ("blocked", "LWLock:ProcArray", 20)])), None);
    }
}
