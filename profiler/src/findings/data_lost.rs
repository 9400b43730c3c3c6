//! Events that were seen but not kept: the report is incomplete, and by how much.

use super::number;
use crate::report::model::{Finding, Report};

pub fn rule(report: &Report) -> Option<Finding> {
    let lost: u64 = report.coverage.lost.values().sum();
    if lost == 0 {
        return None;
    }
    let mut reasons: Vec<(&String, &u64)> = report.coverage.lost.iter().filter(|(_, n)| **n > 0).collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    Some(Finding {
        id: "data_lost".into(),
        severity: "warning".into(),
        title: format!(
            "{} event{} lost: the numbers of this report are incomplete",
            number(lost),
            if lost == 1 { "" } else { "s" }
        ),
        evidence: reasons.iter().map(|(reason, n)| format!("{reason}: {} lost", number(**n))).collect(),
        advice: format!(
            "Profile fewer targets or probes at a time; look at what \"{}\" counts with `pgstrobe probes`.",
            reasons.first().map_or("", |(reason, _)| reason.as_str())
        ),
        explained_ns: 0,
        confidence: "high".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn any_loss_is_said() {
        let mut report = fixture::idle();
        assert_eq!(rule(&report), None);
        report.coverage.lost.insert("ring_buffer_full".into(), 1_234);
        let found = rule(&report).unwrap();
        assert!(found.title.starts_with("1,234 events lost"), "{}", found.title);
        assert_eq!(found.evidence, ["ring_buffer_full: 1,234 lost"]);
    }
}
