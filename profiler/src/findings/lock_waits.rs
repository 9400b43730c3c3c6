//! Statements that wait for one another's heavyweight locks while the holder works.

use super::filesystem_frozen::extension_queue;
use super::locks::{Waits, describe, is_lock, is_special, lock_waits, look_at, root_pid};
use super::rule::{Confidence, Found, Rule};
use super::time::{cost, duration, events, in_waits, is_notable, listed, percent, severity_of, share, worst_statement};
use crate::report::model::Report;

pub const RULE: Rule = Rule { id: "lock_waits", about: is_lock, symptom: false, find };

/// How to see who holds what others wait for.
const HOLDERS: &str = "SELECT pid, pg_blocking_pids(pid), query FROM pg_stat_activity WHERE wait_event_type = 'Lock'";

fn find(report: &Report) -> Option<Found> {
    let all = cost(report, is_lock);
    // What an idle transaction, a deadlock or a queue for a table explains is said by those rules.
    let special: u64 = lock_waits(report).filter(|one| is_special(report, one)).map(|one| one.total_ns).sum();
    // So is the queue behind a backend that cannot extend its relation.
    let ns = all.ns.saturating_sub(special).saturating_sub(extension_queue(report));
    if !is_notable(report, ns) {
        return None;
    }
    let part = share(report, ns);
    let waits = Waits::of(report, is_lock, lock_waits(report).filter(|one| !is_special(report, one)));
    let events = events(report, is_lock);
    let kind = match &waits {
        Some(waits) => format!("Lock:{}", waits.all[0].wait_event),
        None => events.first().map_or("Lock".into(), |(name, _)| name.clone()),
    };
    let mut evidence = vec![in_waits(&all, "wait") + " for locks", listed(&events, 4)];
    if special > 0 {
        evidence.push(format!("{} of that behind idle transactions, deadlocks or whole tables", duration(special)));
    }
    if let Some(waits) = &waits {
        evidence.push(waits.summary());
        evidence.push(format!("held longest by {}", describe(report, &waits.all[0].blocker)));
        evidence.push(waits.longest_waiter());
        evidence.extend(waits.chain());
    }
    evidence.extend(worst_statement(report, is_lock));
    let holder = waits.as_ref().map(|waits| root_pid(waits.all[0]));
    let by = match &waits {
        Some(waits) => format!(", longest for pid {}", waits.all[0].blocker.pid),
        None => String::new(),
    };
    Some(Found {
        severity: severity_of(part),
        confidence: if waits.is_some() { Confidence::High } else { Confidence::Medium },
        title: format!("{} of statement time is waiting for locks, mostly {kind}{by}", percent(part)),
        evidence,
        advice: advice(report, &kind, holder),
        explained_ns: ns,
    })
}

fn advice(report: &Report, kind: &str, holder: Option<u32>) -> String {
    let look = match holder {
        Some(pid) => format!("see the holder with {}", look_at(report, pid)),
        None => format!("find the holders with {HOLDERS}"),
    };
    match kind {
        "Lock:transactionid" | "Lock:tuple" => format!(
            "Several transactions change the same rows: make the transactions that hold them shorter (change the hot \
             row last, commit at once), or spread the hot row over several; {look}; log_lock_waits = on logs them."
        ),
        "Lock:relation" => format!(
            "A statement locks a whole table (DDL, VACUUM FULL, LOCK TABLE): {look}; run DDL with a lock_timeout."
        ),
        "Lock:extend" => {
            "Many statements extend one table or index at a time: load with COPY or multi-row INSERT, or into \
             several partitions; bulk extension is better from PostgreSQL 16 on."
                .into()
        }
        "Lock:advisory" => format!(
            "The application's own locks (pg_advisory_lock): hold them for a shorter time, or use \
             pg_try_advisory_lock; {look}."
        ),
        _ => format!("To see who waits for whom, {look}; log_lock_waits = on logs them."),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, blocking, find};
    use super::*;

    #[test]
    fn names_the_main_kind() {
        let report =
            testing::report(&[("cpu", "", 400), ("blocked", "Lock:relation", 500), ("blocked", "Lock:tuple", 100)]);
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.title, "60.0 % of statement time is waiting for locks, mostly Lock:relation");
        assert!(found.advice.contains("lock_timeout"));
        assert_eq!(found.evidence[..2], ["600 ms in 200 waits for locks", "Lock:relation 500 ms, Lock:tuple 100 ms"]);
        let other = testing::report(&[("cpu", "", 400), ("blocked", "LWLock:tuple", 500)]);
        assert_eq!(find(&RULE, &other), None);
    }

    #[test]
    fn names_the_holder_and_the_chain() {
        let mut report = testing::report(&[("cpu", "", 400), ("blocked", "Lock:transactionid", 600)]);
        let mut one = blocking("transactionid", 31, "active", 600);
        one.chain = vec!["pid 31 (UPDATE …) waits for Lock:tuple of pid 32".into()];
        report.blocking = vec![one];
        let found = find(&RULE, &report).unwrap();
        assert!(found.title.ends_with("mostly Lock:transactionid, longest for pid 31"), "{}", found.title);
        let all = found.evidence.join("\n");
        assert!(all.contains("held longest by pid 31 (client backend), active for 3.00 ms: UPDATE t SET b"), "{all}");
        assert!(all.contains("waits for Lock:tuple of pid 32"), "{all}");
        assert!(found.advice.contains("WHERE pid = 32"), "{}", found.advice);
    }

    #[test]
    fn what_others_explain_is_not_counted() {
        let mut report = testing::report(&[("cpu", "", 400), ("blocked", "Lock:transactionid", 600)]);
        report.blocking = vec![blocking("transactionid", 31, "idle in transaction", 590)];
        assert_eq!(find(&RULE, &report), None);
        report.blocking[0].total_ns = 300_000_000;
        assert_eq!(find(&RULE, &report).unwrap().explained_ns, 300_000_000);
    }
}
