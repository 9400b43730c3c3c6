//! WAL that is mostly images of full pages: after a checkpoint, the first change of each page takes the whole page along.

use super::checkpoint_storm;
use super::rule::{Confidence, Found, Rule};
use super::time::{cost, duration, is_notable, number, percent, severity_of, share, worst_statement};
use super::wal::{self, is_queue, is_sync};
use crate::report::model::{LedgerPart, Report};
use crate::words::bytes;

pub const RULE: Rule = Rule { id: "full_page_writes", about: is_flush, symptom: false, find };

/// Bytes a flush has to write from which on its length is that of its bytes, and not the device's own.
const LONG_FLUSH: u64 = 64 << 10;
/// Images below which their share means nothing.
const ENOUGH: u64 = 200;

fn is_flush(part: &LedgerPart) -> bool {
    is_sync(part) || is_queue(part)
}

fn find(report: &Report) -> Option<Found> {
    let wal = &report.storage.wal;
    let written = wal.written.as_ref().filter(|written| written.full_page_images >= ENOUGH)?;
    let (images, line) = wal::images(report).filter(|(images, _)| *images >= wal::MOSTLY)?;
    let waited = cost(report, is_flush);
    let syncs: u64 = wal.syncs.values().sum();
    let each = written.bytes.checked_div(syncs).unwrap_or(0);
    // A storm of checkpoints is the reason, and says so itself; short flushes are not short for want of images.
    if !is_notable(report, waited.ns) || each < LONG_FLUSH || (checkpoint_storm::RULE.find)(report).is_some() {
        return None;
    }
    let mut evidence = vec![format!(
        "{line} in {} of WAL, {} of it at the most: {} a sync of WAL",
        bytes(written.bytes),
        percent(images),
        bytes(each)
    )];
    if let Some(last) = wal.checkpoints.last() {
        evidence.push(format!(
            "{} checkpoint(s) in the profile, the last ({}) begun {} into it",
            number(wal.checkpoints.len() as u64),
            last.cause,
            duration(last.began_ns.max(0) as u64)
        ));
    }
    evidence.push(format!("{} in flushes of the WAL and waits for them", duration(waited.ns)));
    evidence.extend(worst_statement(report, is_flush));
    Some(Found {
        severity: severity_of(waited.share),
        confidence: Confidence::Medium,
        title: format!(
            "{} of statement time is flushes of WAL that is up to {} full-page images",
            percent(share(report, waited.ns)),
            percent(images)
        ),
        evidence,
        advice: "The first change of a page after a checkpoint writes all of it to the WAL: fewer checkpoints \
                 (checkpoint_timeout, max_wal_size), wal_compression = lz4 (or pglz, on), and no CHECKPOINT by hand before \
                 a large update. Leave full_page_writes on: without it a crash can tear pages."
            .into(),
        explained_ns: waited.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;
    use crate::report::model::WalWritten;

    fn report(images: u64, syncs: u64) -> Report {
        let mut report = testing::report(&[("cpu", "", 300), ("blocked", "IO:WALSync", 600)]);
        let wal = &mut report.storage.wal;
        wal.written = Some(WalWritten {
            bytes: 100 << 20,
            records: 50_000,
            full_page_images: images,
            full_page_bytes_at_most: (images * 8192).min(100 << 20),
        });
        wal.syncs = [("fdatasync".into(), syncs)].into();
        report
    }

    #[test]
    fn large_flushes_of_images() {
        let found = find(&RULE, &report(12_000, 100)).unwrap();
        assert_eq!(found.title, "66.7 % of statement time is flushes of WAL that is up to 93.8 % full-page images");
        assert!(found.evidence[0].ends_with("1.00 MiB a sync of WAL"), "{:?}", found.evidence);
        assert_eq!(super::super::evaluate(&report(12_000, 100))[0].id, RULE.id);
    }

    #[test]
    fn silent_where_images_are_few_or_flushes_short() {
        assert_eq!(find(&RULE, &report(3_000, 100)), None);
        assert_eq!(find(&RULE, &report(12_000, 20_000)), None);
        let mut fast = report(12_000, 100);
        fast.statements.ledger = testing::report(&[("cpu", "", 900)]).statements.ledger;
        assert_eq!(find(&RULE, &fast), None);
    }
}
