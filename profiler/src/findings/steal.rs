//! CPU time that the hypervisor, or interrupts, took from the server.

use super::cpu::host_line;
use super::rule::{Confidence, Found, Rule, Severity};
use super::time::{ENOUGH_NS, cost, duration, is_notable, percent, severity_of, whole, worst_statement};
use crate::report::model::{LedgerPart, Report};
use crate::vocabulary::State;

pub const RULE: Rule = Rule { id: "steal", about: is_interrupted, symptom: false, find };

/// Share of the host's CPU time from which on a hypervisor's part is said.
const STOLEN: f64 = 0.05;

fn is_interrupted(part: &LedgerPart) -> bool {
    part.state == State::Interrupted
}

fn find(report: &Report) -> Option<Found> {
    let taken = cost(report, is_interrupted);
    let host = &report.host.cpu;
    let stolen = host.steal_ns as f64 / host.total_ns.max(1) as f64;
    let notable = is_notable(report, taken.ns);
    if whole(report) < ENOUGH_NS || !(notable || stolen >= STOLEN) {
        return None;
    }
    let mut evidence = Vec::new();
    if taken.ns > 0 {
        evidence.push(format!("{} of statement time a CPU was assigned and did something else", duration(taken.ns)));
    }
    if host.steal_ns > 0 {
        evidence.push(format!("{} stolen by the hypervisor on all CPUs", duration(host.steal_ns)));
    }
    evidence.extend(host_line(report));
    evidence.extend(worst_statement(report, is_interrupted));
    let hypervisor = stolen >= STOLEN;
    Some(Found {
        severity: if stolen >= 0.2 { Severity::Warning } else { severity_of(taken.share) },
        confidence: if hypervisor { Confidence::High } else { Confidence::Medium },
        title: match (hypervisor, taken.ns) {
            (true, 0) => format!("the hypervisor takes {} of the host's CPU time", percent(stolen)),
            (true, _) => format!(
                "the hypervisor takes {} of the host's CPU time: {} of statement time",
                percent(stolen),
                percent(taken.share)
            ),
            (false, _) => format!("{} of statement time interrupts take the CPU", percent(taken.share)),
        },
        evidence,
        advice: if hypervisor {
            "The machine below is overcommitted, or CPU credits are used up: ask the provider, move the virtual machine, \
             or take a size with CPUs of its own; st in vmstat 1 shows it."
        } else {
            "Look at which interrupts run on the server's CPUs (/proc/interrupts, /proc/softirqs): spread those of the \
             network and the disks over the CPUs (irqbalance, RPS)."
        }
        .into(),
        explained_ns: taken.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;

    #[test]
    fn tells_the_hypervisor_from_interrupts() {
        let mut report = testing::report(&[("cpu", "", 800), ("interrupted", "", 200)]);
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.title, "20.0 % of statement time interrupts take the CPU");
        report.host.cpu.total_ns = 10_000_000_000;
        report.host.cpu.steal_ns = 2_500_000_000;
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.title, "the hypervisor takes 25.0 % of the host's CPU time: 20.0 % of statement time");
        assert!(found.evidence.contains(&"2.50 s stolen by the hypervisor on all CPUs".to_owned()));
        assert!(found.advice.contains("vmstat"));
    }

    #[test]
    fn a_little_is_usual() {
        let mut report = testing::report(&[("cpu", "", 990), ("interrupted", "", 10)]);
        report.host.cpu.total_ns = 10_000_000_000;
        report.host.cpu.steal_ns = 100_000_000;
        assert_eq!(find(&RULE, &report), None);
    }
}
