//! Statements: their latency, their classes, and those that did not end.

use super::{percentiles, picture, plural, summary::stuck_rows, whose};
use crate::{
    page::{Block, Cell, Entry, Item, Line, Section, Table, Tone},
    report::{
        model::{Query, Report, Unfinished, sum},
        phrases::parts::listed,
    },
    words::{bytes, count, duration, percent, rate, tie},
};

/// Lines of a query's text in the list of classes.
const TEXT_LINES: usize = 4;
/// Parts of a class's ledger that are named.
const PARTS: usize = 5;

pub(super) fn latency(report: &Report) -> Option<Section> {
    if report.statements.latency.count == 0 {
        return None;
    }
    let mut section = Section::new("STATEMENT LATENCY");
    section.blocks.push(picture::of(&report.statements.latency));
    Some(section)
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

pub(super) fn classes(report: &Report, top: usize) -> Option<Section> {
    if report.queries.is_empty() {
        return None;
    }
    let all = by_time(report);
    let entries = all.iter().take(top).enumerate().map(|(at, query)| class(report, at, query)).collect();
    let mut section = Section::new("STATEMENT CLASSES");
    section.blocks.push(Block::Entries { entries, spaced: true });
    section.more(all.len(), top, "statement classes");
    Some(section)
}

fn class(report: &Report, at: usize, query: &Query) -> Entry {
    let mut title: Vec<Item> = vec![
        Cell::Id(at as u64 + 1).into(),
        Cell::Share(share(report, query)).into(),
        Cell::Duration(query.ledger.wall_ns).into(),
    ];
    title.extend(whose(query.user.as_ref(), query.database.as_ref()));
    match query.query_id_source.as_str() {
        "server" => title.push(Item::new("query id", Cell::name(&query.query_id))),
        "fingerprint" => title.push(Item::new("fingerprint", Cell::name(&query.query_id))),
        _ => {}
    }
    let cut = if query.cut && !query.query.ends_with('…') { " …" } else { "" };
    let calls = format!(
        "{} call{}, {} error{}, {} sent",
        count(query.calls),
        plural(query.calls),
        count(query.errors),
        plural(query.errors),
        tie(&bytes(query.sent_bytes))
    );
    let numbers = [Item::text(calls), Item::new("mean", Cell::mean(query.latency.mean))];
    let mut lines = vec![
        Line::new(vec![Cell::code(format!("{}{cut}", query.query)).into()]).indent(4).wrap(4, TEXT_LINES),
        Line::new(numbers.into_iter().chain(percentiles(&query.latency)).collect()).indent(4).wrap(4, 5),
    ];
    let ledger = listed(&query.ledger, PARTS);
    if !ledger.is_empty() {
        lines.push(Line::text(ledger).indent(4).wrap(4, 3));
    }
    lines.extend([workers(query), samples(query)].into_iter().flatten());
    Entry { title: Line::new(title).indent(1).tone(Tone::Strong), lines }
}

/// The account of a class's parallel workers beside that of their leaders, where it had any.
fn workers(query: &Query) -> Option<Line> {
    if query.worker_processes == 0 && query.workers.wall_ns == 0 {
        return None;
    }
    let text = format!(
        "{} ({} per call), {} in addition to {} of their leaders: {}",
        count(query.worker_processes),
        rate(query.worker_processes as f64 / query.calls.max(1) as f64),
        tie(&duration(query.workers.wall_ns)),
        tie(&duration(query.ledger.wall_ns)),
        listed(&query.workers, PARTS)
    );
    Some(Line::text(text).indent(4).label("workers:").wrap(6, 3))
}

/// What samples on a CPU showed as the wait event, where any showed one: work the server does under its name.
fn samples(query: &Query) -> Option<Line> {
    let all = sum(query.cpu_samples.values().copied());
    let mut named: Vec<(&String, &u64)> = query.cpu_samples.iter().filter(|(event, _)| !event.is_empty()).collect();
    named.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let texts: Vec<String> = named
        .iter()
        .take(PARTS)
        .map(|(event, n)| tie(&format!("{event} {}", percent(**n as f64 / all.max(1) as f64))))
        .collect();
    let text = format!("{} samples on CPU: {}", count(all), texts.join(", "));
    (!texts.is_empty()).then(|| Line::text(text).indent(4).wrap(6, 3))
}

/// The statements still open at the end, the longest first.
pub(super) fn unfinished_table(report: &Report, most: usize) -> Table {
    let mut all: Vec<&Unfinished> = report.unfinished.iter().collect();
    all.sort_by_key(|u| std::cmp::Reverse((u.elapsed_ns, u.began_before)));
    let mut table = Table::default()
        .number("PID", 0)
        .number("RUNNING", 0)
        .text("MOSTLY IN", 0)
        .name("USER", 3)
        .name("DATABASE", 4)
        .main_text("STILL RUNNING AT THE END");
    for u in all.into_iter().take(most) {
        table.row(vec![
            Cell::Id(u.pid.into()),
            if u.began_before { Cell::LongerThan(u.elapsed_ns) } else { Cell::Duration(u.elapsed_ns) },
            Cell::text(listed(&u.ledger, 1)),
            Cell::name_or_blank(u.user.as_ref()),
            Cell::name_or_blank(u.database.as_ref()),
            u.query.as_ref().map_or_else(|| Cell::text("(text not known)"), Cell::code),
        ]);
    }
    table
}

pub(super) fn unfinished(report: &Report, top: usize) -> Option<Section> {
    if report.unfinished.len() <= stuck_rows(report) {
        return None;
    }
    let heading = "STILL RUNNING AT THE END (not in the numbers above; > : began before the profile)";
    let mut section = Section::new(heading);
    section.table(unfinished_table(report, top));
    section.more(report.unfinished.len(), top, "unfinished statements");
    Some(section)
}
