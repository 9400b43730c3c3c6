//! Backends that could run and got no CPU.

use super::{duration, notable, percent, severity_of};
use crate::report::model::{Finding, Report};

pub fn rule(report: &Report) -> Option<Finding> {
    let runnable = notable(report, |part| part.state == "runnable")?;
    let cpu = super::cost(&report.statements.ledger, |part| part.state == "cpu");
    let wanted = (runnable.ns + cpu.ns) as f64 / report.duration_ns.max(1) as f64;
    let mut evidence = vec![
        format!("{} runnable but not running, {} on a CPU", duration(runnable.ns), duration(cpu.ns)),
        format!("the statements could have used {wanted:.1} CPUs on average; the host has {}", report.host.cpus),
    ];
    let few = wanted < report.host.cpus as f64 * 0.7;
    if few {
        evidence.push("there are more CPUs than that: something else takes them or a quota holds them back".into());
    }
    Some(Finding {
        id: "cpu_saturation".into(),
        severity: severity_of(runnable.share),
        title: format!("{} of statement time is waiting for a CPU", percent(runnable.share)),
        evidence,
        advice: if few {
            "Look at the CPU quota of the server's cgroup (nr_throttled in cpu.stat), at what else runs on the host, \
             and at steal time."
        } else {
            "Fewer backends at a time finish more: put a pooler in front or lower its size towards the number of CPUs; \
             look at the statements with most time on CPU below."
        }
        .into(),
        explained_ns: runnable.ns,
        confidence: "high".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn tells_a_full_host_from_a_quota() {
        let mut report = testing::report(&[("cpu", "", 10_000), ("runnable", "", 10_000)]);
        report.host.cpus = 2;
        let found = rule(&report).unwrap();
        assert_eq!((found.severity.as_str(), found.explained_ns), ("warning", 10_000_000_000));
        assert!(found.advice.contains("pooler"));
        report.host.cpus = 64;
        assert!(rule(&report).unwrap().advice.contains("nr_throttled"));
        assert_eq!(rule(&testing::report(&[("cpu", "", 1_000), ("runnable", "", 50)])), None);
    }
}
