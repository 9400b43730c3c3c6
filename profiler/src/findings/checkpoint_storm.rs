//! Checkpoints that follow each other because `max_wal_size` is reached again and again.

use super::rule::{Confidence, Found, Rule, Severity};
use super::time::{cost, duration, number, percent, waits};
use super::wal::{self, is_wal_or_data};
use crate::report::model::{Checkpoint, LedgerPart, Report};
use crate::vocabulary::CheckpointCause;
use crate::words::bytes;

pub const RULE: Rule = Rule { id: "checkpoint_storm", about: is_flush, symptom: false, find };

/// `checkpoint_warning` is 30 s by default: the server itself complains when two are closer (src/backend/postmaster/
/// checkpointer.c).
const CLOSE_NS: u64 = 30_000_000_000;
/// So many in a row are no accident.
const SEVERAL: usize = 3;

fn is_flush(part: &LedgerPart) -> bool {
    wal::is_sync(part) || wal::is_queue(part) || waits(part, "LWLock", "WALInsert")
}

fn find(report: &Report) -> Option<Found> {
    let wal = &report.storage.wal;
    let by_wal: Vec<&Checkpoint> = wal.checkpoints.iter().filter(|one| one.cause == CheckpointCause::Wal).collect();
    let (first, last) = (by_wal.first()?, by_wal.last()?);
    if by_wal.len() < SEVERAL {
        return None;
    }
    let apart = last.began_ns.abs_diff(first.began_ns) / (by_wal.len() as u64 - 1);
    if apart >= CLOSE_NS {
        return None;
    }
    let settings = wal.settings.as_ref()?;
    let size = settings.max_wal_size_bytes;
    let mut evidence = vec![format!(
        "{} of {} checkpoints because of the WAL, one every {}; checkpoint_timeout is {}, max_wal_size {}",
        number(by_wal.len() as u64),
        number(wal.checkpoints.len() as u64),
        duration(apart),
        duration(settings.checkpoint_timeout_ns),
        bytes(size)
    )];
    evidence
        .extend(wal::images(report).map(|(share, line)| format!("{line}: {} of the WAL at the most", percent(share))));
    let files: u64 = wal.checkpoints.iter().map(|one| one.files).sum();
    let buffers: u64 = wal.checkpoints.iter().map(|one| one.buffers).sum();
    evidence.push(format!("{} buffers written and {} files synced by them", number(buffers), number(files)));
    if let Some(overlay) = wal.overlay.as_ref().filter(|overlay| overlay.outside.count > 0) {
        evidence.push(format!(
            "statements during checkpoints: p99 {}, outside {}",
            duration(overlay.during.p99),
            duration(overlay.outside.p99)
        ));
    }
    // Without the storm most of the WAL would not be there, nor the writes of the checkpointer.
    let heavy = wal::images(report).is_some_and(|(share, _)| share >= wal::MOSTLY);
    let waited = cost(report, is_wal_or_data);
    if waited.ns > 0 {
        evidence.push(format!(
            "{} of statement time ({}) is waits for the WAL and for data files",
            duration(waited.ns),
            percent(waited.share)
        ));
    }
    Some(Found {
        severity: Severity::Warning,
        confidence: Confidence::High,
        title: format!("a checkpoint every {} because max_wal_size ({}) is too small", duration(apart), bytes(size)),
        evidence,
        advice: format!(
            "Raise max_wal_size to {} or more (what is written now in one checkpoint_timeout needs twice its size; the \
             disk below pg_wal must hold it), so that checkpoints come by time: each one makes every page that is changed \
             after it go to the WAL whole again.",
            bytes(enough(report, settings.checkpoint_timeout_ns, size))
        ),
        explained_ns: if heavy { waited.ns } else { 0 },
    })
}

/// A `max_wal_size` that is not reached before `checkpoint_timeout` at the rate of this run, which is the most that will be
/// written: with fewer checkpoints there are fewer images. Rounded up to whole GiB, at most 64 of them.
fn enough(report: &Report, timeout_ns: u64, now: u64) -> u64 {
    let written = report.storage.wal.written.as_ref().map_or(0, |written| written.bytes);
    let each_ns = report.duration_ns.max(1);
    let timeout = (written as u128 * u128::from(timeout_ns) / u128::from(each_ns)) as u64;
    let gib = (timeout.saturating_mul(2).max(now.saturating_mul(2))).div_ceil(1 << 30);
    gib.clamp(1, 64) << 30
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;
    use crate::report::fixture;
    use crate::report::model::{WalSettings, WalWritten};

    fn storm(cause: &str, apart_ms: i64) -> Report {
        let mut report = testing::report(&[("cpu", "", 300), ("blocked", "IO:WALSync", 600)]);
        report.duration_ns = 10_000_000_000;
        let wal = &mut report.storage.wal;
        let one = |n: i64| Checkpoint {
            began_ns: n * apart_ms * 1_000_000,
            cause: fixture::word(cause),
            buffers: 1_700,
            files: 9,
            ..Checkpoint::default()
        };
        wal.checkpoints = (0..5).map(one).collect();
        wal.settings = Some(WalSettings {
            max_wal_size_bytes: 32 << 20,
            checkpoint_timeout_ns: 300_000_000_000,
            ..WalSettings::default()
        });
        wal.written = Some(WalWritten {
            bytes: 90 << 20,
            records: 50_000,
            full_page_images: 10_000,
            full_page_bytes_at_most: 80 << 20,
        });
        report
    }

    #[test]
    fn names_the_size_and_one_that_is_enough() {
        let found = find(&RULE, &storm("wal", 1_200)).unwrap();
        assert_eq!(found.title, "a checkpoint every 1.20 s because max_wal_size (32.0 MiB) is too small");
        assert!(found.advice.starts_with("Raise max_wal_size to 6.00 GiB or more"), "{}", found.advice);
        assert!(found.evidence[0].starts_with("5 of 5 checkpoints"), "{:?}", found.evidence);
        assert_eq!(found.explained_ns, 600_000_000);
        let first = &super::super::evaluate(&storm("wal", 1_200))[0];
        assert_eq!(first.id, RULE.id, "before the flushes that it makes long");
    }

    #[test]
    fn silent_on_others() {
        assert_eq!(find(&RULE, &storm("time", 1_200)), None);
        assert_eq!(find(&RULE, &storm("requested", 1_200)), None);
        assert_eq!(find(&RULE, &storm("wal", 60_000)), None);
        let mut two = storm("wal", 1_200);
        two.storage.wal.checkpoints.truncate(2);
        assert_eq!(find(&RULE, &two), None);
    }
}
