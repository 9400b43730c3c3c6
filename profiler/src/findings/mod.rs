//! Rules over the report that point to a cause.
//!
//! A rule is a function of the [`Report`] alone and speaks only when the report holds the evidence, which it cites. Its
//! advice names the setting or the query to look at. A new rule is a file here and a line in [`RULES`].

mod client_slow;
mod connection_churn;
mod cpu_saturation;
mod data_lost;
mod fsync_errors;
mod lock_waits;
mod slow_wal_sync;
mod stuck_statement;

use std::borrow::Cow;

use crate::report::model::{Finding, Ledger, LedgerPart, Report};

/// A rule: a finding if the report holds the evidence for it.
pub type Rule = fn(&Report) -> Option<Finding>;

/// Every rule.
pub static RULES: &[Rule] = &[
    fsync_errors::rule,
    data_lost::rule,
    stuck_statement::rule,
    slow_wal_sync::rule,
    lock_waits::rule,
    cpu_saturation::rule,
    client_slow::rule,
    connection_churn::rule,
];

/// The findings of all rules, the most severe first, then by the statement time they explain.
pub fn evaluate(report: &Report) -> Vec<Finding> {
    let mut found: Vec<Finding> = RULES.iter().filter_map(|rule| rule(report)).collect();
    found.sort_by_key(|finding| (severity_rank(&finding.severity), std::cmp::Reverse(finding.explained_ns)));
    found
}

/// 0 for the most severe.
pub fn severity_rank(severity: &str) -> u8 {
    match severity {
        "critical" => 0,
        "warning" => 1,
        _ => 2,
    }
}

/// Share of the statements' time from which on a cause is worth a sentence.
const NOTABLE: f64 = 0.10;
/// And from which on it is a warning.
const LARGE: f64 = 0.30;
/// Statement time below which shares mean nothing, in nanoseconds.
const ENOUGH_NS: u64 = 10_000_000;

/// Waits for this wait event; an empty name stands for all of the type.
fn waits(part: &LedgerPart, class: &str, event: &str) -> bool {
    let is = |given: &Option<Cow<str>>, wanted: &str| given.as_deref().is_some_and(|g| g.eq_ignore_ascii_case(wanted));
    part.state == "blocked" && is(&part.wait_event_type, class) && (event.is_empty() || is(&part.wait_event, event))
}

/// Time and count of the parts a rule is about.
struct Cost {
    ns: u64,
    count: u64,
    /// Of the whole ledger, 0 to 1.
    share: f64,
}

fn cost(ledger: &Ledger, of: impl Fn(&LedgerPart) -> bool) -> Cost {
    let mut out = Cost { ns: 0, count: 0, share: 0.0 };
    for part in ledger.parts.iter().filter(|part| of(part)) {
        out.ns += part.ns;
        out.count += part.count;
    }
    if ledger.wall_ns > 0 {
        out.share = out.ns as f64 / ledger.wall_ns as f64;
    }
    out
}

/// The cost of these parts in all statements when it is notable.
fn notable(report: &Report, of: impl Fn(&LedgerPart) -> bool) -> Option<Cost> {
    let ledger = &report.statements.ledger;
    let cost = cost(ledger, of);
    (ledger.wall_ns >= ENOUGH_NS && cost.share >= NOTABLE).then_some(cost)
}

fn severity_of(share: f64) -> String {
    if share >= LARGE { "warning" } else { "info" }.into()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

use crate::report::text::format::{count as number, duration};

/// The statement class that spent most time in these parts: (its text, the time).
fn worst_query(report: &Report, of: impl Fn(&LedgerPart) -> bool) -> Option<(&str, u64)> {
    let most =
        report.queries.iter().map(|query| (query.query.as_str(), cost(&query.ledger, &of).ns)).max_by_key(|q| q.1)?;
    (most.1 > 0).then_some(most)
}

/// The evidence line on [`worst_query`].
fn worst_query_line(report: &Report, of: impl Fn(&LedgerPart) -> bool) -> Option<String> {
    let (text, ns) = worst_query(report, of)?;
    Some(format!("most of it, {}, in: {}", duration(ns), short(text)))
}

fn short(text: &str) -> String {
    const MOST: usize = 120;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::report::fixture;

    /// A report of 1,000 statements whose time is made of these parts: (state, `Type:Event`, milliseconds).
    pub fn report(parts: &[(&'static str, &'static str, u64)]) -> Report {
        let mut report = fixture::idle();
        report.statements.count = 1_000;
        report.statements.ledger = fixture::ledger(
            parts.iter().map(|&(state, event, ms)| fixture::part(state, event, None, ms * 1_000_000, 100)).collect(),
        );
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_worst_comes_first() {
        let mut report = fixture::busy();
        report.fsync.errors = 1;
        report.fsync.by[2].errors = 1;
        let found = evaluate(&report);
        let ids: Vec<&str> = found.iter().map(|f| f.id.as_str()).collect();
        assert_eq!(ids, ["fsync_errors", "slow_wal_sync", "stuck_statement", "lock_waits"]);
    }

    #[test]
    fn nothing_is_said_without_evidence() {
        assert_eq!(evaluate(&fixture::idle()), []);
        assert_eq!(evaluate(&Report::default()), []);
    }
}
