//! Backends that wait for each other until the server ends one of them.

use super::locks::{Waits, is_lock, lock_waits, what};
use super::rule::{Confidence, Found, Rule, Severity};
use super::time::{duration, number, short};
use crate::report::model::Report;

pub const RULE: Rule = Rule { id: "deadlock", about: is_lock, symptom: false, find };

fn find(report: &Report) -> Option<Found> {
    let waits = Waits::of(report, is_lock, lock_waits(report).filter(|one| one.cycle))?;
    let mut pids: Vec<u32> = waits.pids.iter().copied().chain(waits.all.iter().map(|one| one.blocker.pid)).collect();
    pids.sort_unstable();
    pids.dedup();
    let mut evidence = vec![waits.summary()];
    evidence.extend(waits.all.iter().take(4).map(|one| {
        let other = one.blocker.query.as_deref().map_or("(text not known)".into(), short);
        format!("{}: {} waits for pid {}: {other}", what(one), short(&one.query), one.blocker.pid)
    }));
    evidence.extend(waits.chain());
    if report.statements.errors > 0 {
        evidence.push(format!("{} statements ended with an error", number(report.statements.errors)));
    }
    let named: Vec<String> = pids.iter().take(6).map(u32::to_string).collect();
    Some(Found {
        severity: Severity::Warning,
        confidence: Confidence::High,
        title: format!("deadlock: pids {} waited for each other, {} in all", named.join(", "), duration(waits.ns)),
        evidence,
        advice: "Let all transactions take their locks in the same order (sort the rows before changing them, or lock \
                 them first with SELECT … ORDER BY … FOR UPDATE). The server log has both statements under \"deadlock \
                 detected\"; each costs its victims deadlock_timeout."
            .into(),
        explained_ns: waits.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, blocking, find};
    use super::*;

    #[test]
    fn a_cycle_is_one() {
        let mut report = testing::report(&[("cpu", "", 400), ("blocked", "Lock:transactionid", 1_000)]);
        report.blocking = vec![blocking("transactionid", 23, "waiting", 1_000)];
        assert_eq!(find(&RULE, &report), None);
        report.blocking[0].cycle = true;
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.title, "deadlock: pids 21, 22, 23 waited for each other, 1.00 s in all");
        assert!(found.evidence[1].contains("waits for pid 23"), "{:?}", found.evidence);
    }
}
