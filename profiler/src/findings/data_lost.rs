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
    let share = reasons.iter().map(|(reason, n)| share(report, reason, **n)).fold(0.0, f64::max);
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
        advice: reasons.first().map_or(String::new(), |(reason, _)| advice(reason)),
        explained_ns: 0,
    })
}

/// How much of what there was is missing: of the statements, where records found no room; of the hits, where a hit was left
/// out or could not do its work. Four runs left out of ten thousand are no reason to distrust a report of one statement.
fn share(report: &Report, reason: &str, lost: u64) -> f64 {
    let kept = match is_record(reason) {
        true => report.statements.count,
        false => report.statements.count.max(report.coverage.overhead.hits),
    };
    lost as f64 / (lost + kept) as f64
}

fn is_record(reason: &str) -> bool {
    reason.ends_with("ring_full") || reason == "ring_buffer_full"
}

/// What makes room for what was lost most.
fn advice(reason: &str) -> String {
    let what = match reason {
        _ if is_record(reason) => {
            "The ring buffer was full: profile again with a larger one (--ring-buffer, in KiB, a power of two), and leave \
             pgstrobe a CPU to read it."
        }
        _ if reason.ends_with("map_full") || reason.ends_with("folded") => {
            "There was more than is kept apart: what found no room is missing or summed up as others. A shorter profile \
             (--duration, --interval) meets less of it at a time."
        }
        "programs_skipped" => {
            "The kernel left out runs of a program because another one was running on the same CPU; a lower --level has \
             fewer of them."
        }
        _ => {
            "Memory or files of the server could not be read when it mattered. If it happens again, `pgstrobe doctor` says \
             what is missing."
        }
    };
    format!("{what} Most was lost as {reason}.")
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
        assert!(found.advice.contains("--ring-buffer"), "{}", found.advice);
        let of = |reason: &str| {
            let mut report = fixture::busy();
            report.coverage.lost.insert(reason.into(), 3);
            find(&RULE, &report).unwrap().advice
        };
        assert!(of("text_ring_full").contains("--ring-buffer"));
        assert!(!of("classes_folded").contains("--ring-buffer") && of("classes_folded").contains("--interval"));
        assert!(of("memory_read_failed").contains("pgstrobe doctor"));
        report.coverage.lost.insert("ring_buffer_full".into(), 1_000_000);
        let found = find(&RULE, &report).unwrap();
        assert!(found.title.starts_with("1,000,000 events lost"), "{}", found.title);
        assert_eq!(found.severity, Severity::Critical);
    }

    #[test]
    fn a_few_of_many_hits_are_no_alarm() {
        let mut report = fixture::busy();
        report.statements.count = 1;
        report.coverage.overhead.hits = 10_000;
        report.coverage.lost.insert("programs_skipped".into(), 4);
        assert_eq!(find(&RULE, &report).unwrap().severity, Severity::Warning);
        report.coverage.lost.insert("programs_skipped".into(), 1_000);
        assert_eq!(find(&RULE, &report).unwrap().severity, Severity::Critical);
        report.coverage.lost.insert("programs_skipped".into(), 0);
        report.coverage.lost.insert("ring_buffer_full".into(), 1);
        assert_eq!(find(&RULE, &report).unwrap().severity, Severity::Critical, "one of two statements");
    }
}
