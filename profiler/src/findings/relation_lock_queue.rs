//! Statements in a queue for a whole table: one that wants a strong lock waits, and everybody waits behind it.
//!
//! Locks of a relation only conflict where at least one side is strong (src/backend/storage/lmgr/lock.c,
//! LockConflicts): reads and writes of rows never wait for each other here.

use super::locks::{Waits, describe, is_relation, lock_waits, look_at, root, root_pid};
use super::rule::{Confidence, Found, Rule, Severity};
use super::time::{duration, is_notable, percent, severity_of, share, waits};
use crate::report::model::{Blocking, LedgerPart, Report};
use crate::vocabulary::BlockerState;

pub const RULE: Rule = Rule { id: "relation_lock_queue", about: is_relation_lock, symptom: false, find };

/// A single wait this long is said, however busy the rest is, in nanoseconds.
const LONG_NS: u64 = 1_000_000_000;

fn is_relation_lock(part: &LedgerPart) -> bool {
    waits(part, "Lock", "relation")
}

fn find(report: &Report) -> Option<Found> {
    let queue = Waits::of(report, is_relation_lock, lock_waits(report).filter(|one| is_relation(one) && !one.cycle))?;
    if !is_notable(report, queue.ns) && queue.max_ns < LONG_NS {
        return None;
    }
    let part = share(report, queue.ns);
    let mut evidence = vec![queue.summary()];
    // Who stands before the others without holding anything.
    let head = queue.all.iter().find(|one| one.blocker.state == BlockerState::Waiting);
    evidence.extend(head.map(|one| format!("in the queue before others: {}", describe(report, &one.blocker))));
    let strong = queue.all.iter().find(|one| one.mode.as_deref().is_some_and(is_strong));
    evidence.extend(strong.map(|one| format!("a strong lock is wanted: {}", strong_lock(one))));
    let longest = queue.all[0];
    let (holder, holder_pid) = (root(report, longest), root_pid(longest));
    evidence.extend(holder.map(|one| format!("at the root: {}", describe(report, one))));
    evidence.extend(queue.chain());
    if strong.is_none_or(|strong| !std::ptr::eq(*strong, longest)) {
        evidence.push(queue.longest_waiter());
    }
    let table = queue.all.iter().find_map(|one| one.relation);
    let which = table.map_or("a table".into(), |relation| format!("relation {relation}"));
    let behind = match head {
        Some(one) => format!("pid {}, which itself waits for pid {holder_pid}", one.blocker.pid),
        None => format!("pid {holder_pid}"),
    };
    let name = table.map_or(String::new(), |relation| format!(" (SELECT {relation}::regclass names it)"));
    Some(Found {
        severity: if queue.waiting > 0 { Severity::Warning } else { severity_of(part) },
        confidence: Confidence::High,
        title: format!(
            "{} of statement time ({}) is a queue for {which} behind {behind}",
            percent(part),
            duration(queue.ns)
        ),
        evidence,
        advice: format!(
            "Run DDL, VACUUM FULL and LOCK TABLE with SET lock_timeout = '2s' and try again, so that a waiting one does \
             not stop everybody, and keep transactions on that table short{name}. The root of the queue now: {}.",
            look_at(report, holder_pid)
        ),
        explained_ns: queue.ns,
    })
}

/// Modes that conflict with those that reads and writes of rows take.
fn is_strong(mode: &str) -> bool {
    matches!(mode, "ShareLock" | "ShareRowExclusiveLock" | "ExclusiveLock" | "AccessExclusiveLock")
}

fn strong_lock(one: &Blocking) -> String {
    format!(
        "{} by pid {}, waiting {}: {}",
        one.mode.as_deref().unwrap_or_default(),
        one.pids.first().map_or("not known".into(), u32::to_string),
        duration(one.max_ns),
        super::time::short(&one.query)
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, blocking, find};
    use super::*;

    #[test]
    fn names_the_queue_and_its_root() {
        let mut report = testing::report(&[("cpu", "", 100), ("blocked", "Lock:relation", 900)]);
        let mut behind = blocking("relation", 12, "waiting", 800);
        behind.chain = vec!["pid 12 (ALTER TABLE orders …) waits for Lock:relation of pid 13".into()];
        behind.relation = Some(16397);
        let mut ddl = blocking("relation", 13, "active", 100);
        ddl.mode = Some("AccessExclusiveLock".into());
        report.blocking = vec![behind, ddl];
        let found = find(&RULE, &report).unwrap();
        assert_eq!(
            found.title,
            "90.0 % of statement time (900 ms) is a queue for relation 16397 behind pid 12, which itself waits for pid 13"
        );
        let all = found.evidence.join("\n");
        assert!(all.contains("in the queue before others: pid 12"), "{all}");
        assert!(all.contains("AccessExclusiveLock by pid 21, waiting 50.0 ms"), "{all}");
        assert!(all.contains("at the root: pid 13 (client backend), active for 3.00 ms"), "{all}");
        assert!(found.advice.contains("lock_timeout") && found.advice.contains("16397::regclass"));
    }

    #[test]
    fn rows_are_no_relation() {
        let mut report = testing::report(&[("cpu", "", 100), ("blocked", "Lock:tuple", 900)]);
        report.blocking = vec![blocking("tuple", 13, "active", 900)];
        assert_eq!(find(&RULE, &report), None);
        report.blocking = vec![blocking("relation", 13, "active", 9)];
        assert_eq!(find(&RULE, &report), None);
    }
}
