//! The kernel's flusher on the server's disk while statements wait for that disk.

use super::rule::{Confidence, Found, Rule, Severity, nothing};
use super::time::{caused, cost, duration, is_notable, percent};
use crate::report::model::Report;
use crate::report::phrases::writeback::{dirty_setting, settings};
use crate::vocabulary::Cause;
use crate::words::bytes;

/// It does not say how much of the waiting is the flusher's doing, so it explains no time and stands behind the rules that
/// name the waits.
pub const RULE: Rule = Rule { id: "background_writeback", about: nothing, symptom: false, find };

/// From this pace on the flusher is felt, bytes a second: most of what a slow disk can do.
const PACE: u64 = 16 << 20;

fn find(report: &Report) -> Option<Found> {
    let writeback = &report.storage.writeback;
    let waits =
        cost(report, |part| caused(part, &[Cause::Fsync, Cause::BlockRead, Cause::BlockWrite, Cause::MajorFault]));
    if !is_notable(report, waits.ns) {
        return None;
    }
    let ours = |by: &&crate::report::model::WritebackBy| !by.holds.is_empty();
    let sum: u64 = writeback.by.iter().filter(ours).map(|by| by.bytes).sum();
    let pace = (u128::from(sum) * 1_000_000_000 / u128::from(report.duration_ns.max(1))) as u64;
    let largest = writeback.by.iter().filter(ours).max_by_key(|by| by.bytes)?;
    if pace < PACE {
        return None;
    }
    let most = writeback.timeline.iter().max_by_key(|slice| slice.flushed_bytes.values().sum::<u64>());
    let disk = largest.device_name.as_deref().unwrap_or(&largest.device);
    let mut evidence = vec![
        format!(
            "the flusher wrote {} to the server's disks, {} a second; most for the reason `{}` to {disk} ({})",
            bytes(sum),
            bytes(pace),
            largest.reason,
            largest.holds.join(", ")
        ),
        format!("{} of statement time waits for the disk: {}", percent(waits.share), duration(waits.ns)),
    ];
    evidence.extend(most.map(|slice| {
        let flushed = slice.flushed_bytes.values().sum();
        format!(
            "at most {} within {} ({} after the beginning)",
            bytes(flushed),
            duration(slice.duration_ns),
            duration(slice.began_ns)
        )
    }));
    evidence.push(format!("set are {}", settings(&writeback.settings)));
    Some(Found {
        severity: Severity::Info,
        confidence: Confidence::Low,
        title: format!("the kernel writes {} a second to {disk} while statements wait for the disk", bytes(pace)),
        evidence,
        advice: format!(
            "Large flushes make syncs and reads queue behind them. Let the kernel write smaller amounts earlier: sysctl \
             vm.dirty_background_bytes=67108864 (now {}); checkpoint_flush_after, bgwriter_flush_after and \
             backend_flush_after at their defaults or at 256kB where they are 0; spread checkpoints \
             (checkpoint_completion_target = 0.9, a larger max_wal_size); or put pg_wal on a disk of its own.",
            dirty_setting("background_", &writeback.settings)
        ),
        explained_ns: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_flusher_is_named_where_statements_wait_for_its_disk() {
        let report = |ms, mib: u64| {
            let mut report = testing::caused(400, &[("IO:WALSync", "fsync", ms)]);
            report.storage.writeback = fixture::busy().storage.writeback;
            report.duration_ns = 1_000_000_000;
            report.storage.writeback.by.iter_mut().for_each(|by| by.bytes = mib << 20);
            report
        };
        let found = testing::find(&RULE, &report(600, 100)).unwrap();
        assert_eq!(found.title, "the kernel writes 200 MiB a second to sda while statements wait for the disk");
        assert!(
            found.evidence[0].contains("`background` to sda (data, wal)") || found.evidence[0].contains("`periodic`")
        );
        assert!(found.advice.contains("vm.dirty_background_ratio = 10"));
        assert_eq!(testing::find(&RULE, &report(20, 100)), None);
        assert_eq!(testing::find(&RULE, &report(600, 1)), None);
        let mut elsewhere = report(600, 100);
        elsewhere.storage.writeback.by.iter_mut().for_each(|by| by.holds.clear());
        assert_eq!(testing::find(&RULE, &elsewhere), None);
    }
}
