//! Backends that could run and were held back by the CPU quota of their cgroup.

use super::cpu::{host_line, is_quota, is_quota_behind_all, wanted};
use super::rule::{Confidence, Found, Rule};
use super::time::{cost, duration, in_waits, notable, percent, severity_of, worst_statement};
use crate::report::model::Report;
use crate::vocabulary::State;

pub const RULE: Rule = Rule { id: "cpu_quota", about: is_quota, symptom: false, find };

fn find(report: &Report) -> Option<Found> {
    let quota = notable(report, is_quota)?;
    let runnable = cost(report, |part| part.state == State::Runnable);
    let all = is_quota_behind_all(report);
    let cost = if all { runnable } else { quota };
    let mut evidence = vec![
        in_waits(&quota, "wait") + " for the quota's next period",
        format!("{} in all runnable but not running", duration(runnable.ns)),
        format!("the statements could have used {:.1} CPUs on average", wanted(report)),
    ];
    evidence.extend(host_line(report));
    evidence.extend(worst_statement(report, is_quota));
    Some(Found {
        severity: severity_of(cost.share),
        confidence: Confidence::High,
        title: format!("{} of statement time the server is held back by its CPU quota", percent(cost.share)),
        evidence,
        advice:
            "The CPUs are there, and the cgroup of the server may not use them: raise or remove cpu.max (CPUQuota= \
                 of the systemd unit, --cpus of docker, resources.limits.cpu of Kubernetes); nr_throttled and \
                 throttled_usec in its cpu.stat count it. Fewer backends at a time use up a quota more slowly."
                .into(),
        explained_ns: cost.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::testing::{find, part, report_of};
    use super::*;

    #[test]
    fn a_quota_is_not_a_full_host() {
        let of = |cause, ms| report_of(vec![part("cpu", "", None, 400), part("runnable", "", Some(cause), ms)]);
        let found = find(&RULE, &of("cpu_quota", 600)).unwrap();
        assert_eq!(found.title, "60.0 % of statement time the server is held back by its CPU quota");
        assert!(found.evidence[0].starts_with("600 ms in 100 waits"), "{:?}", found.evidence);
        assert!(found.advice.contains("cpu.max"));
        assert_eq!(find(&RULE, &of("preempted", 600)), None);
        // The others wait for the little the quota leaves, not for CPUs: half of those are idle.
        let mut crowded = of("cpu_quota", 600);
        crowded.statements.ledger.parts.push(part("runnable", "", Some("preempted"), 500));
        crowded.statements.ledger.wall_ns += 500_000_000;
        crowded.host.cpu.total_ns = 1_000;
        assert_eq!(find(&RULE, &crowded).unwrap().explained_ns, 600_000_000);
        crowded.host.cpu.idle_ns = 500;
        assert_eq!(find(&RULE, &crowded).unwrap().explained_ns, 1_100_000_000);
        assert!(evaluate(&crowded).iter().all(|one| one.id != "cpu_saturation"));
        assert_eq!(find(&RULE, &of("cpu_quota", 10)), None);
    }
}
