//! Events that were seen but not kept: the report is incomplete, and by how much.

use super::rule::{Confidence, Found, Rule, Severity, nothing};
use super::time::number;
use crate::report::model::Report;

pub const RULE: Rule = Rule { id: "data_lost", about: nothing, symptom: false, find };

/// From this share of what was seen on, no other finding can be trusted.
const MUCH: f64 = 0.05;

fn find(report: &Report) -> Option<Found> {
    let lost: u64 = report.coverage.lost.values().sum();
    if lost == 0 {
        return None;
    }
    let mut reasons: Vec<(&String, &u64)> = report.coverage.lost.iter().filter(|(_, n)| **n > 0).collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let share = lost as f64 / (lost + report.statements.count) as f64;
    let mut evidence: Vec<String> =
        reasons.iter().map(|(reason, n)| format!("{reason}: {} lost", number(**n))).collect();
    evidence.push(format!("{} statements were kept", number(report.statements.count)));
    Some(Found {
        severity: if share >= MUCH { Severity::Critical } else { Severity::Warning },
        confidence: Confidence::High,
        title: format!(
            "{} event{} lost: the numbers of this report are incomplete",
            number(lost),
            if lost == 1 { "" } else { "s" }
        ),
        evidence,
        advice: format!(
            "Profile fewer targets or probes at a time; look at what \"{}\" counts with `pgstrobe probes`.",
            reasons.first().map_or("", |(reason, _)| reason.as_str())
        ),
        explained_ns: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::find;
    use super::*;
    use crate::report::fixture;

    #[test]
    fn any_loss_is_said() {
        let mut report = fixture::busy();
        assert_eq!(find(&RULE, &report), None);
        report.coverage.lost.insert("ring_buffer_full".into(), 12);
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.severity, Severity::Warning);
        assert_eq!(found.evidence[0], "ring_buffer_full: 12 lost");
        report.coverage.lost.insert("ring_buffer_full".into(), 1_000_000);
        let found = find(&RULE, &report).unwrap();
        assert!(found.title.starts_with("1,000,000 events lost"), "{}", found.title);
        assert_eq!(found.severity, Severity::Critical);
    }
}
