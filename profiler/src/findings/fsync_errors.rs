//! A sync that failed: what Postgres believed to be on disk may not be.

use super::number;
use crate::report::model::{Finding, Report};

pub fn rule(report: &Report) -> Option<Finding> {
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
    Some(Finding {
        id: "fsync_errors".into(),
        severity: "critical".into(),
        title: format!("{} sync{} to disk failed", number(errors), if errors == 1 { "" } else { "s" }),
        evidence,
        advice: "Look at the kernel log (dmesg) for errors of the device and at the server log for \"could not \
                 fsync\"; keep data_sync_retry = off, and check the data before trusting it."
            .into(),
        explained_ns: 0,
        confidence: "high".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn one_failure_is_critical() {
        let mut report = fixture::busy();
        assert_eq!(rule(&report), None);
        report.fsync.by[2].errors = 1;
        let found = rule(&report).unwrap();
        assert_eq!((found.severity.as_str(), found.title.as_str()), ("critical", "1 sync to disk failed"));
        assert!(found.evidence[1].contains("base/16384/16397.1 by checkpointer (pid 820)"), "{:?}", found.evidence);
    }
}
