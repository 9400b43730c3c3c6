//! Statements that wait for a device which is itself slow: neither a queue before it nor a neighbour is to blame.

use super::disk::{disk_time, is_disk, is_disk_or_queue, noise_share, own_requests};
use super::rule::{Confidence, Found, Rule};
use super::time::{cost, duration, is_notable, number, percent, severity_of, worst_statement};
use crate::report::model::{BlockDevice, Report};

pub const RULE: Rule = Rule { id: "slow_device", about: is_disk_or_queue, symptom: false, find };

/// Mean time of a request in the device from which on it is slow, in nanoseconds: flash takes a tenth of it.
const SLOW_NS: u64 = 4_000_000;

/// Share of the statements' time for disks that the requests must account for; a queue behind them is not counted.
const ENOUGH: f64 = 0.5;

fn find(report: &Report) -> Option<Found> {
    let disk = disk_time(report);
    if !is_notable(report, disk.ns) {
        return None;
    }
    let devices = report.storage.block.devices.iter();
    let (device, (count, ns)) =
        devices.map(|device| (device, own_requests(report, device))).max_by_key(|(_, (_, ns))| *ns)?;
    if count == 0
        || ns / count < SLOW_NS
        || (ns as f64) < ENOUGH * cost(report, is_disk).ns as f64
        || noise_share(report, device) >= 0.25
    {
        return None;
    }
    let mut evidence = vec![format!(
        "{} requests of the cluster took {} each in {} itself, from their issue to their completion",
        number(count),
        duration(ns / count),
        device.device
    )];
    evidence.push(format!("{} waiting for disks: {} of statement time", duration(disk.ns), percent(disk.share)));
    evidence.extend(kinds(report, device));
    if let Some(busy) = device.busy_ns {
        let share = busy as f64 / report.duration_ns.max(1) as f64;
        evidence.push(format!("{} was busy {} of the time", device.device, percent(share.min(1.0))));
    }
    evidence.extend(worst_statement(report, is_disk_or_queue));
    Some(Found {
        severity: severity_of(disk.share),
        confidence: Confidence::High,
        title: format!(
            "{} of statement time is waiting for the disk, and {} itself is slow: {} a request",
            percent(disk.share),
            device.device,
            duration(ns / count)
        ),
        evidence,
        advice: format!(
            "No setting of PostgreSQL makes the device faster. Look at {0} itself: its health (smartctl -a, dmesg), the \
             array or volume below it (a rebuild, a failed cache battery), and where it is a cloud volume its limit of \
             operations and bytes a second, which shows as latency; move pg_wal or the busiest tables to a faster one. Until \
             then fewer, larger commits, and less reading: shared_buffers, indexes.",
            device.device
        ),
        explained_ns: disk.ns,
    })
}

/// `write by client backend: 400 requests, p50 20.0 ms, p99 31.0 ms in the device`
fn kinds(report: &Report, device: &BlockDevice) -> Option<String> {
    let rows = report.storage.block.by.iter().filter(|row| row.device == device.device && row.owner.cluster);
    let worst =
        rows.max_by_key(|row| (row.requests.device_time.mean * row.requests.device_time.count as f64) as u64)?;
    Some(format!(
        "{} by {}: {} requests, p50 {}, p99 {} in the device, p99 {} in the queue before it",
        worst.operation,
        worst.owner.name,
        number(worst.requests.requests),
        duration(worst.requests.device_time.p50),
        duration(worst.requests.device_time.p99),
        duration(worst.requests.queue_time.p99)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::testing::{self, find};
    use super::*;
    use crate::report::fixture;
    use crate::vocabulary::Operation;

    /// So many milliseconds a request.
    fn report(ms: f64) -> Report {
        let mut report = testing::caused(400, &[("IO:WALSync", "fsync", 600)]);
        report.storage.block = fixture::busy().storage.block;
        let block = &mut report.storage.block;
        block.noise.clear();
        block.by.retain(|row| row.owner.cluster && row.operation == Operation::Write);
        block.by[0].requests.device_time = fixture::latency(100, ms * 1e6, 0.1);
        report
    }

    #[test]
    fn tells_the_device_from_the_queue() {
        let found = find(&RULE, &report(6.0)).unwrap();
        assert!(
            found.title.starts_with("60.0 % of statement time is waiting for the disk, and nvme0n1 itself is slow: 6.")
        );
        assert_eq!(found.explained_ns, 600_000_000);
        assert!(found.evidence.iter().any(|line| line.starts_with("write by client backend")), "{:?}", found.evidence);
        assert_eq!(evaluate(&report(6.0))[0].id, "slow_device");
        assert_eq!(find(&RULE, &report(0.4)), None);
        let mut elsewhere = report(6.0);
        elsewhere.storage.block.by[0].requests.device_time = fixture::latency(10, 6e6, 0.1);
        assert_eq!(find(&RULE, &elsewhere), None, "too few to explain the time");
    }
}
