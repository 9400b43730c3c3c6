//! Commits and the write-ahead log: what the two rules on it share.
//!
//! Those who commit at the same time share one sync: one of them makes it and holds LWLock:WALWrite, the others wait for
//! that lock. Where the sync itself is slow, their wait is its doing; where it is fast, there are many of them.

use super::reclaim;
use super::time::{caused, cost, number, waits};
use crate::hist::Histogram;
use crate::report::model::{Hist, LedgerPart, Report};
use crate::vocabulary::{Cause, FileKind};

/// From this mean on a sync is slow: a flash disk takes a fraction of it, in nanoseconds.
const SLOW_NS: f64 = 4_000_000.0;

/// Waits for the disk below pg_wal. Spelt WALSync up to 16, WalSync from 17 on (wait_event/names.rs).
pub fn is_sync(part: &LedgerPart) -> bool {
    let device =
        waits(part, "IO", "WALSync") || waits(part, "IO", "WALWrite") && !caused(part, &[Cause::DirtyThrottle]);
    device && !caused(part, &reclaim::CAUSES)
}

/// Waits for another one's sync.
pub fn is_queue(part: &LedgerPart) -> bool {
    waits(part, "LWLock", "WALWrite") || waits(part, "LWLock", "WALWriteLock")
}

/// From this share of the WAL on it is mostly images.
pub const MOSTLY: f64 = 0.5;

/// Waits for WAL to be written, and for data files to take what must leave memory.
pub fn is_wal_or_data(part: &LedgerPart) -> bool {
    let data = ["DataFileWrite", "DataFileExtend", "DataFileFlush", "DataFileSync"];
    is_sync(part)
        || is_queue(part)
        || waits(part, "LWLock", "WALInsert")
        || data.iter().any(|event| waits(part, "IO", event))
}

/// Full-page images: their share of the WAL at the most, and their number as words.
pub fn images(report: &Report) -> Option<(f64, String)> {
    let written = report.storage.wal.written.as_ref().filter(|written| written.bytes > 0)?;
    let share = written.full_page_bytes_at_most as f64 / written.bytes as f64;
    Some((share, format!("{} full-page images", number(written.full_page_images))))
}

/// The syncs of WAL files of all processes.
pub fn syncs(report: &Report) -> Hist {
    let mut all = Histogram::new();
    for by in report.fsync.by.iter().filter(|by| by.file_kind == FileKind::Wal) {
        if let Ok(hist) = Histogram::from_hist(&by.latency) {
            all.merge(&hist);
        }
    }
    all.summary()
}

/// Whether a sync takes so long that the queue for it is its doing.
pub fn is_slow(report: &Report) -> bool {
    let syncs = syncs(report);
    if syncs.count > 0 {
        return syncs.mean >= SLOW_NS;
    }
    let waits = cost(report, is_sync);
    waits.count > 0 && waits.ns as f64 / waits.count as f64 >= SLOW_NS
}
