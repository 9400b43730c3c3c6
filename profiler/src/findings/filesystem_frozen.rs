//! Writers that wait because somebody froze the file system they write to: a backup or a snapshot of the disk.

use super::rule::{Confidence, Found, Rule};
use super::time::{
    caused, cost, duration, events, in_waits, is_notable, listed, percent, severity_of, share, waits, worst_statement,
};
use crate::report::model::{LedgerPart, Report};
use crate::vocabulary::Cause;

pub const RULE: Rule = Rule { id: "filesystem_frozen", about: is_frozen_or_queue, symptom: false, find };

fn is_frozen(part: &LedgerPart) -> bool {
    caused(part, &[Cause::FilesystemFrozen])
}

fn is_extension_lock(part: &LedgerPart) -> bool {
    waits(part, "Lock", "extend")
}

fn is_frozen_or_queue(part: &LedgerPart) -> bool {
    is_frozen(part) || is_extension_lock(part)
}

/// Time of waits for the lock by which a relation is extended, where the backends that held it mostly waited for a frozen
/// file system meanwhile. They wait for the file system too.
pub fn extension_queue(report: &Report) -> u64 {
    let extends = |part: &LedgerPart| waits(part, "IO", "DataFileExtend");
    let slept = cost(report, extends).ns;
    let frozen = cost(report, |part| extends(part) && is_frozen(part)).ns;
    if frozen > 0 && frozen >= slept - frozen { cost(report, is_extension_lock).ns } else { 0 }
}

fn find(report: &Report) -> Option<Found> {
    let own = cost(report, is_frozen);
    let queue = extension_queue(report);
    let ns = own.ns + queue;
    if own.ns == 0 || !is_notable(report, ns) {
        return None;
    }
    let share = share(report, ns);
    let mut evidence = vec![in_waits(&own, "write") + " to a frozen file system"];
    evidence.push(format!("meanwhile in {}", listed(&events(report, is_frozen), 3)));
    if queue > 0 {
        evidence.push(format!("{} more behind them, for the lock by which a relation is extended", duration(queue)));
    }
    evidence.extend(worst_statement(report, is_frozen_or_queue));
    Some(Found {
        severity: severity_of(share),
        confidence: Confidence::High,
        title: format!("{} of statement time is waiting for a frozen file system", percent(share)),
        evidence,
        advice: "Somebody froze the file system (fsfreeze -f, xfs_freeze, LVM or a hypervisor that takes a snapshot, the \
                 hooks of a backup): every write to it waits until it is thawed. See which tool did so at that time, and \
                 make its snapshot shorter; if it was forgotten, fsfreeze -u MOUNTPOINT."
            .into(),
        explained_ns: ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{lock_waits, testing};
    use super::*;

    #[test]
    fn a_frozen_file_system_and_the_queue_behind_it() {
        let report = |cause| {
            testing::caused(
                100,
                &[("IO:DataFileExtend", cause, 200), ("Lock:extend", "futex", 600), ("", "other", 100)],
            )
        };
        let frozen = report("filesystem_frozen");
        let found = testing::find(&RULE, &frozen).unwrap();
        assert_eq!(found.title, "80.0 % of statement time is waiting for a frozen file system");
        assert_eq!(found.explained_ns, 800_000_000);
        assert!(found.evidence.iter().any(|line| line.starts_with("600 ms more behind them")), "{:?}", found.evidence);
        assert_eq!(testing::find(&lock_waits::RULE, &frozen), None, "not as one of relations that grow too often");
        let busy = report("block_write");
        assert_eq!(testing::find(&RULE, &busy), None);
        let found = testing::find(&lock_waits::RULE, &busy).unwrap();
        assert!(found.advice.contains("COPY"), "{}", found.advice);
    }
}
