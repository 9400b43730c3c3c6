//! Statements that wait for their data to be read from a disk.

use super::rule::{Confidence, Found, Rule};
use super::time::{
    Cost, bytes, caused, cost, duration, in_waits, listed, notable, number, percent, severity_of, waits, waits_in,
    worst_statement,
};
use super::{cold_cache, reclaim};
use crate::report::{
    model::{AioWait, LedgerPart, Report},
    phrases::files::relation_name,
};
use crate::vocabulary::{Cause, Role};

pub const RULE: Rule = Rule { id: "block_read", about: is_read, symptom: false, find };

/// Reads of relations; from 18 on a reader may wait for another process that reads for it (AioIoCompletion).
pub fn is_read(part: &LedgerPart) -> bool {
    let relation = waits(part, "IO", "DataFileRead")
        || waits(part, "IO", "AioIoCompletion")
        || waits_in(part, "IO", "AioIoUring")
        || waits(part, "LWLock", "AioUringCompletion");
    let other_rule = caused(part, &reclaim::CAUSES)
        || caused(part, &[Cause::DirtyThrottle, Cause::MajorFault, Cause::BlockQueue, Cause::NetworkFilesystem]);
    relation && !other_rule || caused(part, &[Cause::BlockRead]) && !waits_in(part, "IO", "BufFile")
}

/// Bytes of relations that were read, and that the device was asked for.
pub fn read_from_device(report: &Report) -> (u64, u64) {
    let relations = &report.storage.files.relations;
    relations.iter().fold((0, 0), |sum, one| (sum.0 + one.io.read_bytes, sum.1 + one.io.device_read_bytes))
}

/// The time of reads, if it is notable, and what tells of it.
pub fn find_reads(report: &Report) -> Option<(Cost, Vec<String>)> {
    let all = notable(report, is_read)?;
    let device = in_device(report);
    let mut evidence = vec![
        in_waits(&all, "read"),
        format!(
            "{} of it in the block device, as {}",
            duration(device.ns),
            listed(&super::time::events(report, is_read), 3)
        ),
    ];
    evidence.extend(all.each("a read"));
    evidence.extend(workers_reads(report));
    // The reads of io_uring are no calls: those that are seen are the few others.
    let seen = !report.storage.files.io_uring;
    let relation = report.storage.files.relations.iter().max_by_key(|one| one.io.device_read_bytes);
    if let Some(relation) = relation.filter(|one| seen && one.io.device_read_bytes > 0) {
        let size = relation.size_bytes.map(|size| format!(", it has {}", bytes(size))).unwrap_or_default();
        evidence.push(format!(
            "most from {}: {} from the device{size}",
            relation_name(relation),
            bytes(relation.io.device_read_bytes)
        ));
    }
    evidence.extend(worst_statement(report, is_read));
    Some((all, evidence))
}

/// Waits for reads that an io worker of 18 makes sleep for the worker: what that did is beside them.
fn of_workers(report: &Report) -> impl Iterator<Item = &AioWait> {
    report.storage.aio.iter().flat_map(|aio| &aio.waits).filter(|wait| wait.by == Role::IoWorker)
}

fn workers_reads(report: &Report) -> Option<String> {
    let sum = |of: fn(&AioWait) -> u64| of_workers(report).map(of).sum::<u64>();
    let (count, queued, reading) = (sum(|wait| wait.count), sum(|wait| wait.queued_ns), sum(|wait| wait.reading_ns));
    let device = sum(|wait| wait.from_device);
    (count > 0).then(|| {
        format!(
            "of {} for io workers, {} while they read, {} before; {} of {} reads waited for came from the device",
            duration(sum(|wait| wait.total_ns)),
            duration(reading),
            duration(queued),
            number(device),
            number(count)
        )
    })
}

/// Time of waits while an io worker read from the device, as far as that is known of the waits in all.
fn workers_in_device(report: &Report) -> u64 {
    of_workers(report).filter(|wait| wait.from_device * 2 >= wait.count).map(|wait| wait.reading_ns).sum()
}

fn in_device(report: &Report) -> Cost {
    cost(report, |part| is_read(part) && caused(part, &[Cause::BlockRead, Cause::IoUring]))
}

fn find(report: &Report) -> Option<Found> {
    // A cold cache asks for something else.
    if cold_cache::speaks(report) {
        return None;
    }
    let (all, mut evidence) = find_reads(report)?;
    let (read, device_bytes) = read_from_device(report);
    if device_bytes > 0 && !report.storage.files.io_uring {
        evidence.insert(1, format!("{} of {} read came from the device", bytes(device_bytes), bytes(read)));
    }
    let device = in_device(report);
    Some(Found {
        severity: severity_of(all.share),
        confidence: if (device.ns + workers_in_device(report)) * 2 >= all.ns {
            Confidence::High
        } else {
            Confidence::Medium
        },
        title: format!("{} of statement time is reading data from disk", percent(all.share)),
        evidence,
        advice:
            "The data is neither in shared_buffers nor in the page cache: EXPLAIN (ANALYZE, BUFFERS) the statement \
                 above and look for scans that read more than they return (an index, a narrower condition); raise \
                 shared_buffers or the host's memory towards the working set; effective_io_concurrency where the disk \
                 serves many reads at a time; iostat -x for the disk's own latency."
                .into(),
        explained_ns: all.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn reads_from_disk_are_said() {
        let find = |event, cause| testing::find(&RULE, &testing::caused(400, &[(event, cause, 600)]));
        let found = find("IO:DataFileRead", "block_read").unwrap();
        assert_eq!(found.title, "60.0 % of statement time is reading data from disk");
        assert_eq!(found.evidence[0], "600 ms in 100 reads");
        assert_eq!(found.evidence[1], "600 ms of it in the block device, as IO:DataFileRead 600 ms");
        assert_eq!(found.confidence, Confidence::High);
        assert_eq!(find("IO:DataFileRead", "other").unwrap().confidence, Confidence::Medium);
        assert!(find("IO:SLRURead", "block_read").is_some());
        assert!(find("LWLock:AioUringCompletion", "futex").is_some());
        assert_eq!(find("IO:BufFileRead", "block_read"), None);
        assert_eq!(find("IO:DataFileRead", "memcg_reclaim"), None);
        assert_eq!(testing::find(&RULE, &testing::caused(4_000, &[("IO:DataFileRead", "block_read", 6)])), None);
    }
}
