//! Connections made for so few statements that making them is a large part of the work.

use super::{NOTABLE, duration, number, percent, severity_of};
use crate::report::model::{Finding, Report};

/// Connections a second below which nobody should care.
const RATE: f64 = 1.0;

pub fn rule(report: &Report) -> Option<Finding> {
    let (mut started, mut startup_ns) = (0, 0.0);
    for role in report.roles.iter().filter(|role| role.role == "client backend") {
        started += role.startup.count;
        startup_ns += role.startup.mean * role.startup.count as f64;
    }
    let seconds = report.duration_ns as f64 / 1e9;
    let work_ns = report.statements.ledger.wall_ns as f64;
    let share = startup_ns / (startup_ns + work_ns);
    if started < 10 || seconds <= 0.0 || (started as f64) / seconds < RATE || share < NOTABLE {
        return None;
    }
    let per = report.statements.count as f64 / started as f64;
    Some(Finding {
        id: "connection_churn".into(),
        severity: severity_of(share),
        title: format!(
            "{:.0} connections a second: starting them took {} of the backends' working time",
            started as f64 / seconds,
            percent(share)
        ),
        evidence: vec![
            format!("{} connections started in {}", number(started), duration(report.duration_ns)),
            format!(
                "{} for start-up (mean {} each), {} for statements",
                duration(startup_ns as u64),
                duration((startup_ns / started as f64) as u64),
                duration(work_ns as u64)
            ),
            format!("{per:.1} statements for each started connection"),
        ],
        advice: "Keep connections open: a pool in the application, or a pooler such as PgBouncer in front; \
                 log_connections = on tells who connects."
            .into(),
        explained_ns: startup_ns as u64,
        confidence: "high".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::report::fixture;
    use crate::report::model::Role;

    #[test]
    fn a_connection_per_transaction_is_churn() {
        let mut report = testing::report(&[("cpu", "", 1_000)]);
        report.roles = vec![Role {
            role: "client backend".into(),
            startup: fixture::latency(1_000, 3_000_000.0, 0.3),
            ..Role::default()
        }];
        let found = rule(&report).unwrap();
        assert!(found.title.starts_with("100 connections a second"), "{}", found.title);
        assert_eq!(found.severity, "warning");
        report.roles[0].startup = fixture::latency(5, 3_000_000.0, 0.3);
        assert_eq!(rule(&report), None);
    }
}
