//! Statements: their latency, their classes, and those that did not end.

use super::format::{bytes, count, duration, duration_f, percent, rate, tie};
use super::parts::listed as parts;
use super::summary::percentiles;
use super::table::Table;
use super::{Page, Style, histogram};
use crate::report::model::{Query, Report, Unfinished};

/// Lines of a query's text in the list of classes.
const TEXT_LINES: usize = 4;
/// Parts of a class's ledger that are named.
const PARTS: usize = 5;

pub(super) fn latency(report: &Report, page: &mut Page) {
    if report.statements.latency.count == 0 {
        return;
    }
    page.heading("STATEMENT LATENCY");
    histogram::picture(&report.statements.latency, page);
}

/// The classes, the one with most total time first.
pub(super) fn by_time(report: &Report) -> Vec<&Query> {
    let mut all: Vec<&Query> = report.queries.iter().collect();
    all.sort_by_key(|query| std::cmp::Reverse(query.ledger.wall_ns));
    all
}

/// A class's share of all statements' time, 0 to 1.
pub(super) fn share(report: &Report, query: &Query) -> f64 {
    query.ledger.wall_ns as f64 / report.statements.ledger.wall_ns.max(1) as f64
}

pub(super) fn classes(report: &Report, page: &mut Page) {
    if report.queries.is_empty() {
        return;
    }
    page.heading("STATEMENT CLASSES");
    let all = by_time(report);
    for (i, query) in all.iter().take(page.top).enumerate() {
        if i > 0 {
            page.blank();
        }
        let who = match (&query.user, &query.database) {
            (Some(user), Some(database)) => format!("  {user} in {database}"),
            (Some(one), None) | (None, Some(one)) => format!("  {one}"),
            (None, None) => String::new(),
        };
        let id = match query.query_id_source.as_str() {
            "server" => format!("  query id {}", query.query_id),
            "fingerprint" => format!("  fingerprint {}", query.query_id),
            _ => String::new(),
        };
        let title =
            format!(" {}  {}  {}{who}{id}", i + 1, percent(share(report, query)), duration(query.ledger.wall_ns));
        page.styled(Style::Bold, &title);
        page.wrapped(
            Style::Plain,
            &format!("    {}{}", query.query, if query.cut && !query.query.ends_with('…') { " …" } else { "" }),
            4,
            TEXT_LINES,
        );
        let numbers = format!(
            "    {} call{}, {} error{}, {} sent  mean {}  {}",
            count(query.calls),
            if query.calls == 1 { "" } else { "s" },
            count(query.errors),
            if query.errors == 1 { "" } else { "s" },
            tie(&bytes(query.sent_bytes)),
            tie(&duration_f(query.latency.mean)),
            percentiles(&query.latency)
        );
        page.wrapped(Style::Plain, &numbers, 4, 4);
        let ledger = parts(&query.ledger, PARTS);
        if !ledger.is_empty() {
            page.wrapped(Style::Plain, &format!("    {ledger}"), 4, 3);
        }
        for text in [workers(query), samples(query)].into_iter().flatten() {
            page.wrapped(Style::Plain, &text, 6, 3);
        }
    }
    page.more(all.len().saturating_sub(page.top), "statement classes");
}

/// The account of a class's parallel workers beside that of their leaders, where it had any.
fn workers(query: &Query) -> Option<String> {
    if query.worker_processes == 0 && query.workers.wall_ns == 0 {
        return None;
    }
    let text = format!(
        "    workers: {} ({} a call), {} beside {} of their leaders: {}",
        count(query.worker_processes),
        rate(query.worker_processes as f64 / query.calls.max(1) as f64),
        tie(&duration(query.workers.wall_ns)),
        tie(&duration(query.ledger.wall_ns)),
        parts(&query.workers, PARTS)
    );
    Some(text)
}

/// What samples on a CPU showed as the wait event, where any showed one: work the server does under its name.
fn samples(query: &Query) -> Option<String> {
    let all: u64 = query.cpu_samples.values().sum();
    let mut named: Vec<(&String, &u64)> = query.cpu_samples.iter().filter(|(event, _)| !event.is_empty()).collect();
    named.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let texts: Vec<String> = named
        .iter()
        .take(PARTS)
        .map(|(event, n)| tie(&format!("{event} {}", percent(**n as f64 / all.max(1) as f64))))
        .collect();
    (!texts.is_empty()).then(|| format!("    of {} samples on a CPU: {}", count(all), texts.join(", ")))
}

/// The statements still open at the end, the longest first.
pub(super) fn unfinished_table(report: &Report, most: usize) -> Table {
    let mut all: Vec<&Unfinished> = report.unfinished.iter().collect();
    all.sort_by_key(|u| std::cmp::Reverse((u.elapsed_ns, u.began_before)));
    let mut table = Table::new()
        .number("PID", 0)
        .number("RUNNING", 0)
        .text("MOSTLY IN", 0)
        .name("USER", 3)
        .name("DATABASE", 4)
        .main_text("STILL RUNNING AT THE END");
    for u in all.into_iter().take(most) {
        table.row(vec![
            u.pid.to_string(),
            format!("{}{}", if u.began_before { "> " } else { "" }, duration(u.elapsed_ns)),
            parts(&u.ledger, 1),
            u.user.clone().unwrap_or_default(),
            u.database.clone().unwrap_or_default(),
            u.query.clone().unwrap_or_else(|| "(text not known)".into()),
        ]);
    }
    table
}

pub(super) fn unfinished(report: &Report, page: &mut Page) {
    if report.unfinished.len() <= super::summary::stuck_rows(report) {
        return;
    }
    page.heading("STILL RUNNING AT THE END (not in the numbers above; > : began before the profile)");
    let table = unfinished_table(report, page.top);
    page.table(&table);
    page.more(report.unfinished.len().saturating_sub(page.top), "unfinished statements");
}
