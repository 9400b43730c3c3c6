//! Backends that wait for their own memory to be read back from a disk.

use super::rule::{Confidence, Found, Rule};
use super::time::{caused, in_waits, notable, percent, severity_of, worst_statement};
use crate::report::model::{LedgerPart, Report};
use crate::vocabulary::Cause;

pub const RULE: Rule = Rule { id: "major_fault", about: is_fault, symptom: false, find };

fn is_fault(part: &LedgerPart) -> bool {
    caused(part, &[Cause::MajorFault])
}

fn find(report: &Report) -> Option<Found> {
    let cost = notable(report, is_fault)?;
    let mut evidence = vec![in_waits(&cost, "major page fault")];
    evidence.extend(cost.each("a fault"));
    evidence.extend(worst_statement(report, is_fault));
    Some(Found {
        severity: severity_of(cost.share),
        confidence: Confidence::High,
        title: format!(
            "{} of statement time is memory coming back from a disk (major page faults)",
            percent(cost.share)
        ),
        evidence,
        advice: "Memory of the server was swapped out, or pages of its programs were dropped: see VmSwap in \
                 /proc/PID/status, si in vmstat 1, memory.swap.current of its cgroup. Raise the memory limit or lower \
                 shared_buffers and work_mem; vm.swappiness = 1; huge_pages = on keeps shared_buffers in memory."
            .into(),
        explained_ns: cost.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn faults_count_and_reads_do_not() {
        let find = |cause| testing::find(&RULE, &testing::caused(400, &[("", cause, 600)]));
        let found = find("major_fault").unwrap();
        assert!(found.title.starts_with("60.0 % of statement time"), "{}", found.title);
        assert_eq!(found.evidence[..2], ["600 ms in 100 major page faults", "6.00 ms a fault"]);
        assert!(found.advice.contains("vm.swappiness"));
        assert_eq!(find("block_read"), None);
        assert_eq!(testing::find(&RULE, &testing::caused(4_000, &[("", "major_fault", 6)])), None);
    }
}
