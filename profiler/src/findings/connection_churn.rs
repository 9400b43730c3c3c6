//! Connections made for so few statements that making them is a large part of the work.

use super::rule::{Confidence, Found, Rule, nothing};
use super::time::{NOTABLE, duration, number, percent, severity_of, whole};
use crate::report::model::{Ledger, Report};
use crate::report::phrases::parts::part_name;
use crate::vocabulary::Role;

pub const RULE: Rule = Rule { id: "connection_churn", about: nothing, symptom: false, find };

/// Connections a second below which nobody should care.
const RATE: f64 = 1.0;

fn find(report: &Report) -> Option<Found> {
    let (mut started, mut startup_ns) = (0, 0.0);
    let clients = report.roles.iter().filter(|role| role.role == Role::ClientBackend);
    for role in clients.clone() {
        started += role.startup.count;
        startup_ns += role.startup.mean * role.startup.count as f64;
    }
    let seconds = report.duration_ns as f64 / 1e9;
    let work_ns = whole(report) as f64;
    let share = startup_ns / (startup_ns + work_ns);
    if started < 10 || seconds <= 0.0 || (started as f64) / seconds < RATE || share < NOTABLE {
        return None;
    }
    let per = report.statements.count as f64 / started as f64;
    let mut evidence = vec![
        format!("{} connections started in {}", number(started), duration(report.duration_ns)),
        format!(
            "{} for start-up (mean {} each), {} for statements",
            duration(startup_ns as u64),
            duration((startup_ns / started as f64) as u64),
            duration(work_ns as u64)
        ),
        format!("{per:.1} statements for each started connection"),
    ];
    evidence.extend(clients.clone().find_map(|role| largest(&role.startup_ledger)));
    Some(Found {
        severity: severity_of(share),
        confidence: Confidence::High,
        title: format!(
            "{:.0} connections a second: starting them took {} of the backends' working time",
            started as f64 / seconds,
            percent(share)
        ),
        evidence,
        advice: "Keep connections open: a pool in the application, or a pooler such as PgBouncer in front; \
                 log_connections = on tells who connects."
            .into(),
        explained_ns: startup_ns as u64,
    })
}

/// What a start-up spends most time in.
fn largest(startup: &Ledger) -> Option<String> {
    let part = startup.parts.iter().max_by_key(|part| part.ns)?;
    let share = part.ns as f64 / startup.wall_ns.max(1) as f64;
    Some(format!("{} of the start-ups' time is {}", percent(share), part_name(part)))
}

#[cfg(test)]
mod tests {
    use super::super::rule::Severity;
    use super::super::testing;
    use super::*;
    use crate::report::fixture;
    use crate::report::model;

    #[test]
    fn a_connection_per_transaction_is_churn() {
        let mut report = testing::report(&[("cpu", "", 1_000)]);
        report.roles = vec![model::Role {
            role: Role::ClientBackend.into(),
            startup: fixture::latency(1_000, 3_000_000.0, 0.3),
            ..model::Role::default()
        }];
        let found = testing::find(&RULE, &report).unwrap();
        assert!(found.title.starts_with("100 connections a second"), "{}", found.title);
        assert_eq!(found.severity, Severity::Warning);
        report.roles[0].startup = fixture::latency(5, 3_000_000.0, 0.3);
        assert_eq!(testing::find(&RULE, &report), None);
    }
}
