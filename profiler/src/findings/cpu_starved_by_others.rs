//! Backends that could run and got no CPU, because processes that are not of the cluster use them.

use super::cpu::{host_line, is_crowded, is_taken_by_others, name, others_ns};
use super::rule::{Confidence, Found, Rule};
use super::time::{duration, notable, percent, severity_of};
use crate::report::model::Report;

pub const RULE: Rule = Rule { id: "cpu_starved_by_others", about: is_crowded, symptom: false, find };

fn find(report: &Report) -> Option<Found> {
    let runnable = notable(report, is_crowded)?;
    if !is_taken_by_others(report) {
        return None;
    }
    let worst = report.host.cpu.others.first()?;
    let others = others_ns(report);
    let share = others as f64 / report.host.cpu.total_ns.max(1) as f64;
    // Those that lived through the whole profile have names; what short-lived ones used is in the sum alone.
    let named: u64 = report.host.cpu.others.iter().map(|one| one.cpu_ns).sum();
    let mut evidence = vec![format!("{} runnable but not running", duration(runnable.ns))];
    evidence.extend(host_line(report));
    evidence.extend(report.host.cpu.others.iter().take(4).map(|one| format!("{} on a CPU", name(one))));
    let cgroup = if worst.cgroup.is_empty() { String::new() } else { format!(" (cgroup {})", worst.cgroup) };
    Some(Found {
        severity: severity_of(runnable.share),
        confidence: match share {
            _ if named < others / 2 => Confidence::Low,
            0.5.. => Confidence::High,
            _ => Confidence::Medium,
        },
        title: format!(
            "{} of statement time is waiting for a CPU that others use, most of all {} (pid {})",
            percent(runnable.share),
            worst.name,
            worst.pid
        ),
        evidence,
        advice: format!(
            "Move {}{cgroup} to another host or another time, or give it less: CPUWeight= or CPUQuota= of its systemd \
             unit (cpu.weight, cpu.max of its cgroup), nice; or give PostgreSQL CPUs of its own (AllowedCPUs=).",
            worst.name
        ),
        explained_ns: runnable.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::super::{cpu_saturation, evaluate};
    use super::*;
    use crate::report::model::{HostCpu, OtherProcess};

    fn report(cluster_ns: u64, other_ns: u64) -> Report {
        let mut report = testing::report(&[("cpu", "", 400), ("runnable", "", 600)]);
        let other = OtherProcess { pid: 99, name: "stress-ng".into(), cgroup: "batch.slice".into(), cpu_ns: other_ns };
        report.host.cpu = HostCpu { total_ns: 1_000, idle_ns: 10, steal_ns: 0, cluster_ns, others: vec![other] };
        report
    }

    #[test]
    fn names_the_others() {
        let found = find(&RULE, &report(300, 690)).unwrap();
        assert_eq!(
            found.title,
            "60.0 % of statement time is waiting for a CPU that others use, most of all stress-ng (pid 99)"
        );
        assert_eq!(found.confidence, Confidence::High);
        assert!(found.evidence[1].contains("30.0 % the cluster, 69.0 % others"), "{:?}", found.evidence);
        assert_eq!(found.evidence[2], "stress-ng (pid 99, cgroup batch.slice) 690 ns on a CPU");
        assert!(found.advice.contains("batch.slice") && found.advice.contains("CPUWeight="));
        assert!(evaluate(&report(300, 690)).iter().all(|one| one.id != cpu_saturation::RULE.id));
    }

    #[test]
    fn short_lived_ones_count_too() {
        let mut many = report(200, 20);
        let found = find(&RULE, &many).unwrap();
        // Most of it has no name.
        assert_eq!(found.confidence, Confidence::Low);
        assert!(found.evidence[1].contains("20.0 % the cluster, 79.0 % others"));
        many.host.cpu.idle_ns = 700;
        assert_eq!(find(&RULE, &many), None);
    }

    #[test]
    fn clients_are_no_such_others() {
        assert_eq!(find(&RULE, &report(600, 300)), None);
        assert!(evaluate(&report(600, 300)).iter().any(|one| one.id == cpu_saturation::RULE.id));
        assert_eq!(find(&RULE, &testing::report(&[("cpu", "", 400), ("runnable", "", 600)])), None);
    }
}
