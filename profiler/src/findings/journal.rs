//! Writers that wait for the file system's journal: it is full, or its last transaction is on its way to the disk.

use super::file_lock;
use super::rule::{Confidence, Found, Rule};
use super::time::{
    caused, cost, duration, events, in_waits, is_notable, listed, percent, severity_of, share, worst_statement,
};
use crate::report::model::{LedgerPart, Report};
use crate::vocabulary::Cause;

pub const RULE: Rule = Rule { id: "journal", about: is_journal_or_queue, symptom: false, find };

const CAUSE: Cause = Cause::Journal;

fn is_journal(part: &LedgerPart) -> bool {
    caused(part, &[CAUSE])
}

fn is_journal_or_queue(part: &LedgerPart) -> bool {
    is_journal(part) || file_lock::is_queue(part)
}

fn find(report: &Report) -> Option<Found> {
    let own = cost(report, is_journal);
    let queue = file_lock::queue(report, CAUSE);
    let ns = own.ns + queue.ns;
    if !is_notable(report, ns) {
        return None;
    }
    let share = share(report, ns);
    let mut evidence = vec![in_waits(&own, "wait for the journal")];
    evidence.push(format!("meanwhile in {}", listed(&events(report, is_journal), 3)));
    if queue.ns > 0 {
        evidence.push(format!("{} more behind them, for the lock of the same file", duration(queue.ns)));
    }
    evidence.extend(worst_statement(report, is_journal_or_queue));
    Some(Found {
        severity: severity_of(share),
        confidence: Confidence::High,
        title: format!("{} of statement time is waiting for the file system's journal", percent(share)),
        evidence,
        advice: "Files that grow, appear and vanish change the file system's metadata, and ext4, XFS and btrfs put that \
                 into a journal first; writers stand still while it is full or on its way to the disk. See its size \
                 (dumpe2fs -h DEVICE, xfs_info DIRECTORY) and make a small one larger (tune2fs -J size=1024 on an unmounted \
                 ext4); mount without data=journal, which sends the data through it too; a sync of any process on the same \
                 file system commits it, so keep pg_wal and spilling temporary files (temp_tablespaces) on others. If the \
                 device itself is slow, that comes first."
            .into(),
        explained_ns: ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_journal_and_the_queue_behind_it() {
        let report = testing::caused(
            100,
            &[("IO:DataFileExtend", "journal", 500), ("IO:DataFileExtend", "filesystem_lock", 300), ("", "other", 100)],
        );
        let found = testing::find(&RULE, &report).unwrap();
        assert_eq!(found.title, "80.0 % of statement time is waiting for the file system's journal");
        assert_eq!(found.explained_ns, 800_000_000);
        assert!(found.evidence.iter().any(|line| line.starts_with("300 ms more behind them")), "{:?}", found.evidence);
        assert_eq!(testing::find(&RULE, &testing::caused(900, &[("IO:DataFileExtend", "block_write", 100)])), None);
    }
}
