//! Statements wait for data that is read from the device for the first time: the page cache is cold.
//!
//! If no relation gave more bytes than it has, nothing was read twice, and what comes next will be found in memory. That
//! is another advice than where the same blocks are read again and again ([`super::block_read`]).

use super::block_read::{find_reads, is_read, read_from_device};
use super::rule::{Confidence, Found, Rule};
use super::time::{bytes, percent, severity_of};
use crate::report::model::Report;

pub const RULE: Rule = Rule { id: "cold_cache", about: is_read, symptom: false, find };

/// Bytes below which nothing is said of the cache.
const ENOUGH: u64 = 4 << 20;
/// Read-ahead and metadata make it a little more than the relation has.
const ONCE: f64 = 1.1;
/// From this share of the bytes on the cache was no help.
const COLD: f64 = 0.5;

/// Bytes read by the server, of them from the device, and the size of the relations: if those are cold.
fn cold(report: &Report) -> Option<(u64, u64, u64)> {
    let (read, device) = read_from_device(report);
    if device < ENOUGH || (device as f64) < COLD * read as f64 {
        return None;
    }
    // Those that make up the most of it; the small ones are read with what surrounds them.
    let mut size = 0;
    for relation in report.storage.files.relations.iter().filter(|one| one.io.device_read_bytes > device / 20) {
        let has = relation.size_bytes?;
        if relation.io.device_read_bytes as f64 > has as f64 * ONCE {
            return None;
        }
        size += has;
    }
    (size > 0).then_some((read, device, size))
}

/// Whether this rule speaks.
pub fn speaks(report: &Report) -> bool {
    cold(report).is_some()
}

fn find(report: &Report) -> Option<Found> {
    let (read, device, size) = cold(report)?;
    let (all, mut evidence) = find_reads(report)?;
    evidence.insert(
        0,
        format!(
            "{} read, {} asked of the device; the relations have {}: nothing was read twice",
            bytes(read),
            bytes(device),
            bytes(size)
        ),
    );
    Some(Found {
        severity: severity_of(all.share),
        confidence: Confidence::High,
        title: format!("{} of statement time is filling a cold cache from disk", percent(all.share)),
        evidence,
        advice:
            "It passes as the cache fills: profile again in a few minutes. After a restart or a failover warm it up \
                 before the clients come: pg_prewarm (shared_preload_libraries = 'pg_prewarm' does it at every start), \
                 or a scan of the relations above. If it comes back without a restart, something evicts the cache: a \
                 backup, a big scan, a memory limit of the container."
                .into(),
        explained_ns: all.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;
    use crate::report::model::{FileIo, RelationIo};
    use crate::vocabulary::Fork;

    fn report(read: u64, device: u64, size: Option<u64>) -> Report {
        let mut report = testing::caused(400, &[("IO:DataFileRead", "block_read", 600)]);
        let io = FileIo { reads: 10, read_bytes: read << 20, device_read_bytes: device << 20, ..FileIo::default() };
        let size_bytes = size.map(|size| size << 20);
        report.storage.files.relations =
            vec![RelationIo { relfilenode: 7, fork: Fork::Main.into(), size_bytes, io, ..RelationIo::default() }];
        report
    }

    #[test]
    fn what_is_read_once_is_cold() {
        let cold = report(100, 102, Some(100));
        let found = find(&RULE, &cold).unwrap();
        assert_eq!(found.title, "60.0 % of statement time is filling a cold cache from disk");
        assert!(found.evidence[0].starts_with("100 MiB read, 102 MiB asked of the device"), "{:?}", found.evidence);
        assert_eq!(find(&super::super::block_read::RULE, &cold), None, "one of the two speaks");
    }

    #[test]
    fn what_is_read_again_or_from_memory_is_not() {
        for other in
            [report(400, 300, Some(100)), report(400, 100, Some(400)), report(2, 2, Some(2)), report(100, 100, None)]
        {
            assert_eq!(find(&RULE, &other), None);
            assert!(find(&super::super::block_read::RULE, &other).is_some());
        }
    }
}
