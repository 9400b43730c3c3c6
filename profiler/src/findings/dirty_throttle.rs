//! Writers that the kernel holds back because too many changed pages wait for the disk.

use super::file_lock;
use super::rule::{Confidence, Found, Rule};
use super::time::{caused, cost, events, in_waits, is_notable, listed, percent, severity_of, share, worst_statement};
use crate::report::model::{LedgerPart, Pause, Report, WritebackSettings};
use crate::report::phrases::writeback::{dirty_setting, limits, settings};
use crate::vocabulary::Cause;
use crate::words::{bytes, duration};

pub const RULE: Rule = Rule { id: "dirty_throttle", about: is_about, symptom: false, find };

/// From where the flusher is to begin at the latest: what a slow disk writes in a second.
const EARLY: u64 = 64 << 20;

fn is_throttled(part: &LedgerPart) -> bool {
    caused(part, &[Cause::DirtyThrottle])
}

fn is_about(part: &LedgerPart) -> bool {
    is_throttled(part) || file_lock::is_queue(part)
}

/// Which limit held a writer back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    Host,
    /// The share of a memory cgroup.
    Cgroup,
    /// The device's own, below /sys/class/bdi.
    Device,
}

fn limit_of(pause: &Pause, settings: &WritebackSettings) -> Limit {
    // Writers are slowed from the middle of the two limits on (`dirty_freerun_ceiling`, mm/page-writeback.c).
    let free = (pause.background_limit_bytes + pause.limit_bytes) / 2;
    if pause.limit_bytes == 0 {
        return Limit::Host;
    }
    if pause.dirty_bytes < free && pause.device_dirty_bytes * 2 >= pause.device_limit_bytes {
        Limit::Device
    } else if pause.limit_bytes < settings.limit_bytes / 10 * 9 {
        Limit::Cgroup
    } else {
        Limit::Host
    }
}

fn find(report: &Report) -> Option<Found> {
    let cost = cost(report, is_throttled);
    let queue = file_lock::queue(report, Cause::DirtyThrottle);
    let explained_ns = cost.ns + queue.ns;
    if cost.ns == 0 || !is_notable(report, explained_ns) {
        return None;
    }
    let share = share(report, explained_ns);
    let writeback = &report.storage.writeback;
    let mut evidence = vec![in_waits(&cost, "pause") + " of a writer by the kernel"];
    evidence.push(format!("meanwhile in {}", listed(&events(report, is_throttled), 3)));
    if queue.ns > 0 {
        evidence.push(in_waits(&queue, "wait") + " for the lock of a file that such a writer holds meanwhile");
    }
    evidence.extend(worst_statement(report, is_throttled));
    let longest = writeback.pauses.longest.first();
    let limit = longest.map(|pause| limit_of(pause, &writeback.settings));
    if let Some(pause) = longest {
        evidence.push(format!("the longest pause took {}: {}", duration(pause.paused_ns), limits(pause)));
        evidence.extend(pace(report, &pause.device));
    }
    if writeback.settings != WritebackSettings::default() {
        evidence.push(format!("set are {}", settings(&writeback.settings)));
    }
    Some(Found {
        severity: severity_of(share),
        confidence: Confidence::High,
        title: format!(
            "{} of statement time the kernel holds writers back: too much is not on disk yet",
            percent(share)
        ),
        evidence,
        advice: advice(limit, longest, &writeback.settings),
        explained_ns,
    })
}

/// What the flusher brought to the device.
fn pace(report: &Report, device: &str) -> Option<String> {
    let by = report.storage.writeback.by.iter().filter(|by| by.device == device);
    let sum: u64 = by.clone().map(|by| by.bytes).sum();
    let name = by.filter_map(|by| by.device_name.as_deref()).next().unwrap_or(device);
    let second = (u128::from(sum) * 1_000_000_000 / u128::from(report.duration_ns.max(1))) as u64;
    (sum > 0).then(|| format!("the flusher wrote {} to {name}, {} a second", bytes(sum), bytes(second)))
}

fn advice(limit: Option<Limit>, longest: Option<&Pause>, settings: &WritebackSettings) -> String {
    let mut out = "The disk takes less than is written. ".to_owned();
    match (limit, longest) {
        (Some(Limit::Device), Some(pause)) => {
            out += &format!(
                "The limit is the device's own: see strict_limit, max_ratio and max_bytes in /sys/class/bdi/{}. ",
                pause.device
            );
        }
        (Some(Limit::Cgroup), _) => {
            out += "The limit is the share of the server's memory cgroup: raise memory.high and memory.max (MemoryHigh=, \
                    MemoryMax= of the systemd unit, resources.limits.memory of Kubernetes). ";
        }
        _ => {}
    }
    let mut early = Vec::new();
    // Bytes hold for a cgroup as well, as the share that they are of the host's memory (`domain_dirty_limits`).
    let late = settings.background_limit_bytes == 0 || settings.background_limit_bytes > EARLY;
    if late && limit != Some(Limit::Device) {
        let now = match settings.background_limit_bytes {
            0 => String::new(),
            _ => format!(" (now {})", dirty_setting("background_", settings)),
        };
        early.push(format!("sysctl vm.dirty_background_bytes={EARLY}{now}"));
    }
    for (name, is, advised) in [
        ("backend_flush_after", settings.backend_flush_after_bytes, "256kB"),
        ("checkpoint_flush_after", settings.checkpoint_flush_after_bytes, "256kB"),
        ("bgwriter_flush_after", settings.bgwriter_flush_after_bytes, "512kB"),
    ] {
        if is == Some(0) {
            early.push(format!("{name} = '{advised}' (now 0)"));
        }
    }
    if !early.is_empty() {
        out += &format!("Let writing begin earlier: {}. ", early.join(", "));
    }
    if limit != Some(Limit::Device) {
        out += "For bursts allow more at a time (vm.dirty_bytes or vm.dirty_ratio). ";
    }
    out + "Write less: temporary files (work_mem), unneeded indexes; or take a faster disk."
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::report::fixture;

    #[test]
    fn held_back_writers_are_said() {
        let find = |cause, ms| testing::find(&RULE, &testing::caused(400, &[("IO:DataFileWrite", cause, ms)]));
        let found = find("dirty_throttle", 600).unwrap();
        assert_eq!(found.evidence[0], "600 ms in 100 pauses of a writer by the kernel");
        assert_eq!(found.evidence[1], "meanwhile in IO:DataFileWrite 600 ms");
        assert!(found.advice.contains("vm.dirty_background_bytes=67108864"));
        assert_eq!(find("block_write", 600), None);
        assert_eq!(find("dirty_throttle", 20), None);
    }

    /// A report with pauses under these limits, in MiB: of the pause (dirty, background, limit), of the device.
    fn limited(dirty: u64, background: u64, limit: u64, device: (u64, u64)) -> Found {
        let mut report = testing::caused(400, &[("IO:DataFileWrite", "dirty_throttle", 600)]);
        report.storage.writeback = fixture::busy().storage.writeback;
        let pause = &mut report.storage.writeback.pauses.longest[0];
        (pause.dirty_bytes, pause.background_limit_bytes, pause.limit_bytes) =
            (dirty << 20, background << 20, limit << 20);
        (pause.device_dirty_bytes, pause.device_limit_bytes) = (device.0 << 20, device.1 << 20);
        testing::find(&RULE, &report).unwrap()
    }

    #[test]
    fn the_limit_that_held_is_told() {
        let host = limited(3_500, 1_600, 3_200, (3_000, 3_100));
        let said = host.evidence.join("\n");
        assert!(said.contains("3.42 GiB dirty, limit 3.12 GiB, flusher from 1.56 GiB"), "{said}");
        assert!(said.contains("vm.dirty_background_ratio = 10 (1.56 GiB)"), "{said}");
        assert!(said.contains("checkpoint_flush_after = 256kB"), "{said}");
        assert!(said.contains("the flusher wrote 400 MiB to sda"), "{said}");
        assert!(host.advice.contains("backend_flush_after = '256kB'") && host.advice.contains("vm.dirty_bytes"));
        let device = limited(100, 1_600, 3_200, (30, 32));
        assert!(device.advice.contains("/sys/class/bdi/8:0"), "{}", device.advice);
        let cgroup = limited(100, 40, 80, (90, 80));
        assert!(cgroup.advice.contains("memory.max"), "{}", cgroup.advice);
    }

    #[test]
    fn nothing_is_advised_that_is_set_already() {
        let mut set = fixture::busy().storage.writeback.settings;
        (set.dirty_background_bytes, set.background_limit_bytes) = (EARLY, EARLY);
        let advice = advice(Some(Limit::Host), None, &set);
        assert!(!advice.contains("dirty_background_bytes") && advice.contains("vm.dirty_bytes"), "{advice}");
    }
}
