//! Backends that could run and got no CPU, because there are too many of them.

use super::cpu::{host_line, is_crowded, is_quota_behind_all, is_taken_by_others, name, wanted};
use super::rule::{Confidence, Found, Rule};
use super::time::{cost, duration, notable, percent, severity_of};
use crate::report::model::Report;
use crate::vocabulary::State;

pub const RULE: Rule = Rule { id: "cpu_saturation", about: is_crowded, symptom: false, find };

fn find(report: &Report) -> Option<Found> {
    let runnable = notable(report, is_crowded)?;
    if is_taken_by_others(report) || is_quota_behind_all(report) {
        return None;
    }
    let cpu = cost(report, |part| part.state == State::Cpu);
    let wanted = wanted(report);
    let mut evidence = vec![
        format!("{} runnable but not running, {} on a CPU", duration(runnable.ns), duration(cpu.ns)),
        format!("the statements could have used {wanted:.1} CPUs on average; the host has {}", report.host.cpus),
    ];
    evidence.extend(host_line(report));
    evidence.extend(report.host.cpu.others.first().map(|other| format!("largest other process: {}", name(other))));
    // Averages hide bursts: CPUs that were busy with all sorts of things were busy.
    let host = &report.host.cpu;
    let idle = host.total_ns == 0 || host.idle_ns as f64 >= 0.25 * host.total_ns as f64;
    let few = idle && wanted < report.host.cpus as f64 * 0.7;
    if few {
        evidence.push("there are more CPUs than that: something else takes them or a quota holds them back".into());
    }
    evidence.extend(largest_on_cpu(report));
    Some(Found {
        severity: severity_of(runnable.share),
        confidence: if few { Confidence::Low } else { Confidence::High },
        title: format!("{} of statement time is waiting for a CPU", percent(runnable.share)),
        evidence,
        advice: if few {
            "Look at the CPU quota of the server's cgroup (nr_throttled in cpu.stat), at the CPUs it may use \
             (Cpus_allowed_list in /proc/PID/status), at what else runs on the host, and at steal time."
        } else {
            "Fewer backends at a time finish more: put a pooler in front or lower its size towards the number of CPUs; \
             make the statement with most time on CPU cheaper (EXPLAIN ANALYZE it)."
        }
        .into(),
        explained_ns: runnable.ns,
    })
}

fn largest_on_cpu(report: &Report) -> Option<String> {
    let on_cpu = |part: &crate::report::model::LedgerPart| part.state == State::Cpu;
    super::time::worst_statement(report, on_cpu).map(|line| line.replacen("most of it", "most time on CPU", 1))
}

#[cfg(test)]
mod tests {
    use super::super::rule::Severity;
    use super::super::testing::{self, find};
    use super::*;

    #[test]
    fn tells_a_full_host_from_a_quota() {
        let mut report = testing::report(&[("cpu", "", 10_000), ("runnable", "", 10_000)]);
        report.host.cpus = 2;
        let found = find(&RULE, &report).unwrap();
        assert_eq!((found.severity, found.explained_ns), (Severity::Warning, 10_000_000_000));
        assert_eq!(found.evidence[0], "10.0 s runnable but not running, 10.0 s on a CPU");
        assert!(found.advice.contains("pooler"));
        report.host.cpus = 64;
        assert!(find(&RULE, &report).unwrap().advice.contains("nr_throttled"));
        report.host.cpu.total_ns = 100;
        report.host.cpu.idle_ns = 10;
        report.host.cpu.cluster_ns = 60;
        assert_eq!(find(&RULE, &report).unwrap().confidence, Confidence::High, "no CPU is idle");
        assert_eq!(find(&RULE, &testing::report(&[("cpu", "", 1_000), ("runnable", "", 50)])), None);
    }

    #[test]
    fn other_causes_have_their_own_rule() {
        let part = testing::part;
        let quota = [part("runnable", "", Some("cpu_quota"), 900), part("cpu", "", None, 100)];
        assert_eq!(find(&RULE, &testing::report_of(quota.to_vec())), None);
    }
}
