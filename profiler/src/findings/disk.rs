//! Statement time that goes to block devices, and the requests it waits for: what the rules on devices share.

use super::reclaim;
use super::time::{Cost, caused, cost, waits};
use super::wal::{is_queue, is_slow, is_sync};
use crate::report::model::{BlockDevice, BlockNoise, BlockRequests, LedgerPart, Report};
use crate::vocabulary::{Cause, Operation, OwnerKind};

/// Waits for the log or for data to come from, or to reach, a device.
pub fn is_disk(part: &LedgerPart) -> bool {
    let other = caused(part, &reclaim::CAUSES)
        || caused(part, &[Cause::DirtyThrottle, Cause::MajorFault, Cause::BlockQueue, Cause::NetworkFilesystem]);
    let data = waits(part, "IO", "DataFileRead") || waits(part, "IO", "DataFileSync");
    !other
        && (is_sync(part) || data || caused(part, &[Cause::Fsync, Cause::BlockRead, Cause::BlockWrite, Cause::Journal]))
}

/// The same, and the queue behind one who waits so.
pub fn is_disk_or_queue(part: &LedgerPart) -> bool {
    is_disk(part) || is_queue(part)
}

/// Statement time of the above; of the queue where the one in front of it waits long.
pub fn disk_time(report: &Report) -> Cost {
    let slow = is_slow(report);
    cost(report, |part| is_disk(part) || slow && is_queue(part))
}

/// What the cluster's own requests of a device took in it: requests, and their time in nanoseconds.
pub fn own_requests(report: &Report, device: &BlockDevice) -> (u64, u64) {
    let rows = report.storage.block.by.iter().filter(|row| row.device == device.device && row.owner.cluster);
    // A flush is the other side of a sync.
    let rows =
        rows.filter(|row| matches!(row.operation.known(), Some(Operation::Read | Operation::Write | Operation::Sync)));
    rows.fold((0, 0), |(n, ns), row| (n + row.requests.device_time.count, ns + device_ns(&row.requests)))
}

fn device_ns(requests: &BlockRequests) -> u64 {
    (requests.device_time.mean * requests.device_time.count as f64) as u64
}

/// The time for which this one kept the cluster's requests waiting, in nanoseconds.
pub fn delay_ns(noise: &BlockNoise) -> u64 {
    (noise.delay.mean * noise.delay.count as f64) as u64
}

/// Neighbours on a device: other processes, the worst first, and how long all of them kept the cluster waiting. Threads of
/// the kernel are none: whom they work for is not known.
pub fn neighbours<'a>(report: &'a Report, device: &BlockDevice) -> (Vec<&'a BlockNoise>, u64) {
    let noise = report.storage.block.noise.iter();
    let mut others: Vec<_> =
        noise.filter(|one| one.device == device.device && one.owner.kind == OwnerKind::Process).collect();
    others.sort_by_key(|one| std::cmp::Reverse(delay_ns(one)));
    let all = others.iter().map(|one| delay_ns(one)).sum();
    (others, all)
}

/// The share of the time in which requests of the cluster waited that went to neighbours, 0 to 1.
pub fn noise_share(report: &Report, device: &BlockDevice) -> f64 {
    let all = device.waited_own_ns + device.waited_others_ns;
    neighbours(report, device).1 as f64 / all.max(1) as f64
}
