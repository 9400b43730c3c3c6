//! The first screen.

use super::{active, at_a_time, percentiles, plural, seconds, statements};
use crate::{
    page::{Block, Cell, Entry, Line, Section, Table, Tally, Tone},
    report::{
        model::{Finding, Report, sum},
        phrases::parts::{self, lines, together},
    },
    vocabulary::{Role, Severity},
    words::{bytes, count, duration, duration_f, percent, rate, tenths, tie},
};

/// Lines that each part of the first screen may take.
const LEDGER_ROWS: usize = 6;
const STATEMENT_ROWS: usize = 3;
/// A statement that has run for this long is shown on the first screen, in nanoseconds.
const STUCK_NS: u64 = 1_000_000_000;
const STUCK_ROWS: usize = 3;
const FINDING_ROWS: usize = 3;

pub(super) fn sections(report: &Report) -> Vec<Section> {
    let mut out = vec![headline(report)];
    out.extend(where_the_time_went(report));
    out.extend(findings(report));
    out.extend(stuck(report));
    out.extend(top_statements(report));
    out.push(trust(report));
    out
}

fn headline(report: &Report) -> Section {
    let mut section = Section::first();
    for cluster in &report.clusters {
        let port = cluster.port.map_or("no port known".into(), |port| format!("port {port}"));
        let text = format!(
            "PostgreSQL {}, {port}, {}, {} boundary, {}",
            cluster.version,
            tie(&duration(report.duration_ns)),
            cluster.boundary,
            cluster.data_directory
        );
        section.line(Line::text(text).tone(Tone::Strong).wrap(2, 2));
        if cluster.restarts > 0 {
            let times = count(cluster.restarts as u64);
            let text = format!("the postmaster was restarted {times} time(s) during the profile");
            section.line(Line::text(text).tone(Tone::Warning));
        }
    }
    if report.clusters.is_empty() {
        let text = format!("no PostgreSQL cluster  profiled for {}", duration(report.duration_ns));
        section.line(Line::text(text).tone(Tone::Strong));
    }
    load(report, &mut section);
    section
}

fn load(report: &Report, section: &mut Section) {
    let statements = &report.statements;
    if statements.count == 0 {
        let backends = report.backends.iter().filter(|b| b.role == Role::ClientBackend).count() as u64;
        let open = match report.unfinished.len() {
            0 => String::new(),
            n => format!("; {} still running", count(n as u64)),
        };
        let backends = count(backends);
        let text = format!("no statement finished during the profile ({backends} client backends seen){open}");
        return section.line(Line::text(text).label("load").wrap(9, 3));
    }
    let mut text = format!(
        "{} statements/s ({} in all), {} active on average, {} error{}",
        rate(statements.count as f64 / seconds(report)),
        count(statements.count),
        rate(active(report)),
        count(statements.errors),
        plural(statements.errors)
    );
    for (n, what) in [
        (statements.terminated, "terminated"),
        (statements.batches, "of them batches"),
        (statements.pipelined, "pipelined"),
    ] {
        if n > 0 {
            text.push_str(&format!(", {} {what}", count(n)));
        }
    }
    section.line(Line::text(text).label("load").wrap(9, 3));
    section.line(Line::new(percentiles(&statements.latency).collect()).label("latency").wrap(9, 4));
}

/// Unfinished statements on the first screen. A busy server always has some in flight; one that takes long is news.
pub(super) fn stuck_rows(report: &Report) -> usize {
    let long = report.unfinished.iter().filter(|open| open.elapsed_ns >= STUCK_NS || open.began_before).count();
    long.min(STUCK_ROWS)
}

fn stuck(report: &Report) -> Option<Section> {
    let rows = stuck_rows(report);
    let mut section = Section::first();
    section.table(statements::unfinished_table(report, rows));
    section.more(report.unfinished.len(), rows, "below");
    (rows > 0).then_some(section)
}

fn findings(report: &Report) -> Option<Section> {
    let entry = |(at, finding): (usize, &Finding)| {
        let sure = match finding.confidence.as_str() {
            "" => String::new(),
            sure => format!(" ({sure} confidence)"),
        };
        let title = format!("{}{sure}: {}", finding.severity, finding.title);
        // The first one is the answer: what to do about it in full enough to do it.
        let advice = Line::text(&finding.advice).indent(2).label("=>").wrap(5, if at == 0 { 2 } else { 1 });
        Entry { title: Line::text(title).tone(tone_of(finding)).wrap(2, 2), lines: vec![advice] }
    };
    let entries: Vec<Entry> = report.findings.iter().take(FINDING_ROWS).enumerate().map(entry).collect();
    if entries.is_empty() {
        return None;
    }
    let mut section = Section::first();
    section.blocks.push(Block::Entries { entries, spaced: false });
    let left = report.findings.len().saturating_sub(FINDING_ROWS);
    if left > 0 {
        let text = format!("… and {} more below, each with its evidence", count(left as u64));
        section.line(Line::text(text).tone(Tone::Faint));
    }
    Some(section)
}

pub(super) fn tone_of(finding: &Finding) -> Tone {
    match finding.severity.known() {
        Some(Severity::Critical) => Tone::Critical,
        Some(Severity::Warning) => Tone::Warning,
        Some(Severity::Info) | None => Tone::Plain,
    }
}

/// Where the time of all statements went, those still open included: on the worst of nights nothing ends.
fn where_the_time_went(report: &Report) -> Option<Section> {
    let open = report.unfinished.iter().map(|open| &open.ledger);
    let all = together(std::iter::once(&report.statements.ledger).chain(open));
    if all.is_empty() {
        return None;
    }
    let ended = lines(&report.statements.ledger);
    let ended_ns = |line: &parts::Line| ended.iter().find(|one| one.is(line)).map_or(0, |one| one.ns);
    let statements = report.statements.count;
    let each =
        |ns: u64| if ns == 0 || statements == 0 { Cell::Missing } else { Cell::mean(ns as f64 / statements as f64) };
    let active = |ns: u64| Cell::Rate(at_a_time(report, ns));
    let mut table = Table::default()
        .number("SHARE", 0)
        .number("TOTAL", 2)
        .number("ACTIVE", 3)
        .number("PER STMT", 4)
        .number("P99", 5)
        .text("WHERE THE TIME WENT", 0)
        .name("KERNEL CAUSE", 1);
    // The small ones in one row, unless that row would stand for one.
    let cut = if all.len() > LEDGER_ROWS { LEDGER_ROWS - 1 } else { all.len() };
    let (shown, rest) = all.split_at(cut);
    let rest_ns = sum(rest.iter().map(|line| line.ns));
    let mut sizes: Vec<u64> = shown.iter().map(|line| line.ns).collect();
    if !rest.is_empty() {
        sizes.push(rest_ns);
    }
    let shares: Vec<Cell> = tenths(&sizes).into_iter().map(|tenths| Cell::Share(tenths as f64 / 1000.0)).collect();
    for (line, share) in shown.iter().zip(&shares) {
        table.row(vec![
            share.clone(),
            Cell::Duration(line.ns),
            active(line.ns),
            each(ended_ns(line)),
            line.p99_ns.map_or(Cell::Missing, Cell::Duration),
            Cell::name(&line.name),
            Cell::name(&line.cause),
        ]);
    }
    if !rest.is_empty() {
        table.row(vec![
            shares[cut].clone(),
            Cell::Duration(rest_ns),
            active(rest_ns),
            each(sum(rest.iter().map(ended_ns))),
            Cell::Missing,
            Cell::text(format!("{} smaller parts", rest.len())),
            Cell::Blank,
        ]);
    }
    let mut section = Section::first();
    section.table(table);
    let open = sum(report.unfinished.iter().map(|open| open.ledger.wall_ns));
    if open >= sum(sizes) / 100 && statements > 0 {
        let n = report.unfinished.len() as u64;
        let text = format!(
            "{} of it in {} statement{} still running, not included in PER STMT and P99",
            duration(open),
            count(n),
            plural(n)
        );
        section.line(Line::text(text).indent(1).tone(Tone::Faint));
    }
    Some(section)
}

fn top_statements(report: &Report) -> Option<Section> {
    if report.statements.count == 0 || report.queries.is_empty() {
        return None;
    }
    let mut table = Table::default()
        .number("SHARE", 0)
        .number("TOTAL", 4)
        .number("CALLS", 3)
        .number("MEAN", 1)
        .number("P99", 2)
        .number("MAX", 5)
        .main_text("TOP STATEMENTS BY TOTAL TIME");
    let all = statements::by_time(report);
    for query in all.iter().take(STATEMENT_ROWS) {
        table.row(vec![
            Cell::Share(statements::share(report, query)),
            Cell::Duration(query.ledger.wall_ns),
            Cell::Count(query.calls),
            Cell::mean(query.latency.mean),
            Cell::Duration(query.latency.p99),
            Cell::Duration(query.latency.max),
            Cell::code(&query.query),
        ]);
    }
    let mut section = Section::first();
    section.table(table);
    let left = all.len().saturating_sub(STATEMENT_ROWS);
    if left > 0 {
        let rest: f64 = all.iter().skip(STATEMENT_ROWS).map(|q| statements::share(report, q)).sum();
        let text = format!("{:>6}  … in {} more classes", percent(rest), count(left as u64));
        section.line(Line::text(text).indent(1).tone(Tone::Faint));
    }
    Some(section)
}

/// What the profile lost and what it cost.
pub(super) fn trust(report: &Report) -> Section {
    let mut section = Section::first();
    section.blocks.push(Block::Tally(lost(report)));
    section.line(cost(report));
    section
}

fn lost(report: &Report) -> Tally {
    let mut parts: Vec<(String, u64)> = report.coverage.lost.iter().map(|(reason, n)| (reason.clone(), *n)).collect();
    parts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let total = sum(parts.iter().map(|(_, n)| *n));
    Tally { label: "lost:", total, parts, none: "no loss counters available" }
}

fn cost(report: &Report) -> Line {
    let overhead = &report.coverage.overhead;
    let of_core = |ns: u64| percent(at_a_time(report, ns));
    let per = match report.statements.count {
        0 => String::new(),
        _ => format!(", {}", tie(&format!("{} per statement", duration_f(overhead.run_ns_per_statement)))),
    };
    let source = match overhead.source.as_str() {
        "calibrated" => ", estimated",
        _ => "",
    };
    let unmeasured = match overhead.unmeasured_hits {
        0 => String::new(),
        n => format!(", without {} hits that were not timed", count(n)),
    };
    let text = format!(
        "{} of one core in eBPF ({} hits{per}{source}{unmeasured}), pgstrobe itself {} of a core, {}, and {} of maps in \
         the kernel",
        of_core(overhead.run_ns),
        count(overhead.hits),
        of_core(overhead.own_cpu_ns),
        tie(&bytes(overhead.own_rss_bytes)),
        tie(&bytes(overhead.map_bytes))
    );
    Line::text(text).label("cost:").wrap(6, 3)
}
