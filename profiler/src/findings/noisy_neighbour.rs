//! Statements that wait for a disk which is busy with requests of other processes.

use super::disk::{delay_ns, disk_time, is_disk_or_queue, neighbours, noise_share};
use super::rule::{Confidence, Found, Rule};
use super::time::{duration, is_notable, number, percent, severity_of, worst_statement};
use crate::report::model::{BlockNoise, Report};
use crate::words::bytes;

pub const RULE: Rule = Rule { id: "noisy_neighbour", about: is_disk_or_queue, symptom: false, find };

/// Share of the wait from which on the neighbours are said.
const LEAST: f64 = 0.25;
/// And from which on the wait is theirs.
const MOST: f64 = 0.5;

fn name(one: &BlockNoise) -> String {
    let pid = one.owner.pid.map(|pid| format!("pid {pid}"));
    let group = (!one.owner.cgroup.is_empty()).then(|| one.owner.cgroup.clone());
    let more: Vec<String> = pid.into_iter().chain(group).collect();
    if more.is_empty() { one.owner.name.clone() } else { format!("{} ({})", one.owner.name, more.join(", ")) }
}

fn find(report: &Report) -> Option<Found> {
    let disk = disk_time(report);
    if !is_notable(report, disk.ns) {
        return None;
    }
    let devices = report.storage.block.devices.iter();
    let device = devices.max_by_key(|device| neighbours(report, device).1)?;
    let (others, delayed) = neighbours(report, device);
    let worst = others.first()?;
    let share = noise_share(report, device);
    if share < LEAST {
        return None;
    }
    let ns = if share >= MOST { disk.ns } else { (disk.ns as f64 * share) as u64 };
    let waited = device.waited_own_ns + device.waited_others_ns;
    let mut evidence = vec![format!(
        "requests of the cluster waited {} on {}, {} of that ({}) while requests of other processes were served",
        duration(waited),
        device.device,
        duration(delayed),
        percent(share)
    )];
    evidence.extend(others.iter().take(3).map(|one| {
        format!(
            "{}: {} requests, {}; {} of them kept the cluster waiting for {}",
            name(one),
            number(one.requests),
            bytes(one.bytes),
            number(one.delay.count),
            duration(delay_ns(one))
        )
    }));
    evidence.extend(worst_statement(report, is_disk_or_queue));
    Some(Found {
        severity: severity_of(disk.share),
        confidence: if share >= MOST { Confidence::High } else { Confidence::Medium },
        title: format!(
            "{} of statement time is waiting for the disk, and {} of the wait on {} is for requests of others, most of all {}",
            percent(disk.share),
            percent(share),
            device.device,
            name(worst)
        ),
        evidence,
        advice: format!(
            "Give {} less of {}: IOReadBandwidthMax= and IOWriteBandwidthMax= of its systemd unit (io.max of its cgroup; \
             blkio.throttle in version 1), or IOWeight= with the scheduler bfq; run it at another time; or give PostgreSQL, \
             at least pg_wal, a device of its own. The scheduler is {} \
             (/sys/block/{}/queue/scheduler).",
            worst.owner.name,
            device.device,
            if device.scheduler.is_empty() { "not known" } else { &device.scheduler },
            device.device
        ),
        explained_ns: ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::super::{evaluate, slow_device};
    use super::*;
    use crate::report::fixture;
    use crate::vocabulary::OwnerKind;

    /// `own` and `others` in milliseconds.
    fn report(own: u64, others: u64) -> Report {
        let mut report = testing::caused(400, &[("IO:WALSync", "fsync", 600)]);
        report.storage.block = fixture::busy().storage.block;
        let block = &mut report.storage.block;
        block.devices[0].waited_own_ns = own * 1_000_000;
        block.devices[0].waited_others_ns = others * 1_000_000;
        block.noise[0].delay.count = 100;
        block.noise[0].delay.mean = others as f64 * 1e4;
        report
    }

    #[test]
    fn names_the_neighbour() {
        let found = find(&RULE, &report(100, 300)).unwrap();
        assert_eq!(
            found.title,
            "60.0 % of statement time is waiting for the disk, and 75.0 % of the wait on nvme0n1 is for requests of others, \
             most of all rsync (pid 4711, backup.service)"
        );
        assert_eq!((found.explained_ns, found.confidence), (600_000_000, Confidence::High));
        assert!(found.evidence[1].contains("20,000 requests, 1.28 GiB; 100 of them"), "{:?}", found.evidence);
        assert_eq!(evaluate(&report(100, 300))[0].id, "noisy_neighbour");
        assert_eq!(find(&slow_device::RULE, &report(100, 300)), None);
        let some = find(&RULE, &report(300, 200)).unwrap();
        assert_eq!((some.explained_ns, some.confidence), (240_000_000, Confidence::Medium));
    }

    #[test]
    fn own_requests_are_no_noise() {
        assert_eq!(find(&RULE, &report(300, 30)), None);
        let mut kernel = report(100, 300);
        kernel.storage.block.noise[0].owner.kind = OwnerKind::KernelWorker.into();
        assert_eq!(find(&RULE, &kernel), None);
        let mut idle = report(100, 300);
        idle.statements.ledger = testing::caused(4_000, &[("IO:WALSync", "fsync", 60)]).statements.ledger;
        assert_eq!(find(&RULE, &idle), None);
    }
}
