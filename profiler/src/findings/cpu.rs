//! Who uses the host's CPUs: what the rules on waiting for one share.

use super::time::{cost, duration, notable, percent};
use crate::report::model::{LedgerPart, OtherProcess, Report};
use crate::vocabulary::{Cause, State};

/// Could run and got no CPU, for other reasons than a quota.
pub fn is_crowded(part: &LedgerPart) -> bool {
    part.state == State::Runnable && part.cause() != Some(Cause::CpuQuota)
}

/// Held back by the quota of its cgroup.
pub fn is_quota(part: &LedgerPart) -> bool {
    part.state == State::Runnable && part.cause() == Some(Cause::CpuQuota)
}

/// Whether a quota is behind all waiting for a CPU: backends crowd on what it leaves while the host has idle CPUs.
pub fn is_quota_behind_all(report: &Report) -> bool {
    let host = &report.host.cpu;
    notable(report, is_quota).is_some() && host.total_ns > 0 && host.idle_ns as f64 >= 0.25 * host.total_ns as f64
}

/// Time on CPU that is not the cluster's. Those that are named are only the largest, and of those that lived on: a
/// compiler's thousand short processes, and the kernel's own work, are what else the CPUs were busy with.
pub fn others_ns(report: &Report) -> u64 {
    let cpu = &report.host.cpu;
    let named: u64 = cpu.others.iter().map(|one| one.cpu_ns).sum();
    named.max(cpu.total_ns.saturating_sub(cpu.idle_ns).saturating_sub(cpu.steal_ns).saturating_sub(cpu.cluster_ns))
}

/// Whether it is others rather than the cluster itself who keep the CPUs: they use a large share of the host, and
/// not as the clients of the cluster do, which come to about half of what it uses.
pub fn is_taken_by_others(report: &Report) -> bool {
    let cpu = &report.host.cpu;
    let others = others_ns(report);
    // Who, must be known.
    !cpu.others.is_empty()
        && others as f64 >= 0.25 * cpu.total_ns as f64
        && others as f64 >= 0.8 * cpu.cluster_ns as f64
}

/// `stress-ng (pid 99, cgroup batch.slice) 12.3 s`
pub fn name(one: &OtherProcess) -> String {
    let cgroup = if one.cgroup.is_empty() { String::new() } else { format!(", cgroup {}", one.cgroup) };
    format!("{} (pid {}{cgroup}) {}", one.name, one.pid, duration(one.cpu_ns))
}

/// What the host's CPUs did, where it is known.
pub fn host_line(report: &Report) -> Option<String> {
    let cpu = &report.host.cpu;
    if cpu.total_ns == 0 {
        return None;
    }
    let of = |ns: u64| percent(ns as f64 / cpu.total_ns as f64);
    Some(format!(
        "of the host's {} CPUs: {} the cluster, {} others, {} idle, {} stolen",
        report.host.cpus,
        of(cpu.cluster_ns),
        of(others_ns(report)),
        of(cpu.idle_ns),
        of(cpu.steal_ns)
    ))
}

/// CPUs that the statements could have used on average.
pub fn wanted(report: &Report) -> f64 {
    let ns = cost(report, |part| part.state == State::Runnable || part.state == State::Cpu).ns;
    ns as f64 / report.duration_ns.max(1) as f64
}
