//! Writers that the kernel holds back because too many changed pages wait for the disk.

use super::rule::{Confidence, Found, Rule};
use super::time::{caused, events, in_waits, listed, notable, percent, severity_of, worst_statement};
use crate::report::model::{LedgerPart, Report};

pub const RULE: Rule = Rule { id: "dirty_throttle", about: is_throttled, symptom: false, find };

fn is_throttled(part: &LedgerPart) -> bool {
    caused(part, &["dirty_throttle"])
}

fn find(report: &Report) -> Option<Found> {
    let cost = notable(report, is_throttled)?;
    let mut evidence = vec![in_waits(&cost, "pause") + " of a writer by the kernel"];
    evidence.push(format!("meanwhile in {}", listed(&events(report, is_throttled), 3)));
    evidence.extend(worst_statement(report, is_throttled));
    Some(Found {
        severity: severity_of(cost.share),
        confidence: Confidence::High,
        title: format!(
            "{} of statement time the kernel holds writers back: too much is not on disk yet",
            percent(cost.share)
        ),
        evidence,
        advice: "The disk takes less than is written. Let writing begin earlier (vm.dirty_background_bytes = 64 MiB, \
                 checkpoint_flush_after, backend_flush_after, bgwriter_lru_maxpages) and allow more at a time \
                 (vm.dirty_bytes or vm.dirty_ratio; a cgroup's share of it follows memory.max); write less: temporary \
                 files (work_mem), unneeded indexes; or take a faster disk."
            .into(),
        explained_ns: cost.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn held_back_writers_are_said() {
        let find = |cause, ms| testing::find(&RULE, &testing::caused(400, &[("IO:DataFileWrite", cause, ms)]));
        let found = find("dirty_throttle", 600).unwrap();
        assert_eq!(found.evidence[0], "600 ms in 100 pauses of a writer by the kernel");
        assert_eq!(found.evidence[1], "meanwhile in IO:DataFileWrite 600 ms");
        assert!(found.advice.contains("vm.dirty_background_bytes"));
        assert_eq!(find("block_write", 600), None);
        assert_eq!(find("dirty_throttle", 20), None);
    }
}
