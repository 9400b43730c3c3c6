//! A sync that failed: what Postgres believed to be on disk may not be.

use super::rule::{Confidence, Found, Rule, Severity, nothing};
use super::time::number;
use crate::report::model::Report;

pub const RULE: Rule = Rule { id: "fsync_errors", about: nothing, symptom: false, find };

fn find(report: &Report) -> Option<Found> {
    let errors = report.fsync.errors.max(report.fsync.by.iter().map(|by| by.errors).sum());
    if errors == 0 {
        return None;
    }
    let mut evidence = vec![format!("{} of {} syncs failed", number(errors), number(report.fsync.latency.count))];
    for by in report.fsync.by.iter().filter(|by| by.errors > 0).take(5) {
        evidence.push(format!(
            "{} failed {} of {} by {} (pid {})",
            number(by.errors),
            by.syscall,
            by.file,
            by.role,
            by.pid
        ));
    }
    Some(Found {
        severity: Severity::Critical,
        confidence: Confidence::High,
        title: format!("{} sync{} to disk failed", number(errors), if errors == 1 { "" } else { "s" }),
        evidence,
        advice: "Look at the kernel log (dmesg) for errors of the device and at the server log for \"could not \
                 fsync\"; keep data_sync_retry = off, and check the data before trusting it."
            .into(),
        explained_ns: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::find;
    use super::*;
    use crate::report::fixture;

    #[test]
    fn one_failure_is_critical() {
        let mut report = fixture::busy();
        assert_eq!(find(&RULE, &report), None);
        report.fsync.by[2].errors = 1;
        let found = find(&RULE, &report).unwrap();
        assert_eq!((found.severity, found.title.as_str()), (Severity::Critical, "1 sync to disk failed"));
        assert!(found.evidence[1].contains("base/16384/16397.1 by checkpointer (pid 820)"), "{:?}", found.evidence);
    }
}
