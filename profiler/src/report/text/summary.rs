//! The first screen.

use super::format::{TIE, bytes, count, duration, duration_f, percent, rate, tenths, tenths_text, tie, width};
use super::fsync::SyncGroup;
use super::table::Table;
use super::{Page, Style};
use crate::report::model::{Hist, Ledger, LedgerPart, Report};

/// Lines that each part of the first screen may take.
const LEDGER_ROWS: usize = 6;
const STATEMENT_ROWS: usize = 5;
const SYNC_ROWS: usize = 3;
/// A statement that has run for this long is shown on the first screen, in nanoseconds.
const STUCK_NS: u64 = 1_000_000_000;
const STUCK_ROWS: usize = 3;
const FINDING_ROWS: usize = 3;

pub(super) fn render(report: &Report, page: &mut Page) {
    headline(report, page);
    load(report, page);
    stuck(report, page);
    findings(report, page);
    if report.statements.count > 0 {
        where_the_time_went(report, page);
        top_statements(report, page);
    }
    syncs(report, page);
    page.blank();
    lost(report, page);
    cost(report, page);
}

fn headline(report: &Report, page: &mut Page) {
    for cluster in &report.clusters {
        let port = cluster.port.map_or("no port known".into(), |port| format!("port {port}"));
        let text = format!(
            "PostgreSQL {}, {port}, {}, {} boundary, {}",
            cluster.version,
            tie(&duration(report.duration_ns)),
            cluster.boundary,
            cluster.data_directory
        );
        page.wrapped(Style::Bold, &text, 2, 2);
        if cluster.restarts > 0 {
            page.styled(
                Style::Yellow,
                &format!("the postmaster was restarted {} time(s) during the profile", count(cluster.restarts as u64)),
            );
        }
    }
    if report.clusters.is_empty() {
        page.styled(Style::Bold, &format!("no PostgreSQL cluster  profiled for {}", duration(report.duration_ns)));
    }
}

fn load(report: &Report, page: &mut Page) {
    let statements = &report.statements;
    let seconds = report.duration_ns.max(1) as f64 / 1e9;
    let open: u64 = report.unfinished.iter().map(|u| u.elapsed_ns).sum();
    let active = (statements.ledger.wall_ns + open) as f64 / report.duration_ns.max(1) as f64;
    page.blank();
    if statements.count == 0 {
        let backends = report.backends.iter().filter(|b| b.role == "client backend").count() as u64;
        let open = match report.unfinished.len() {
            0 => String::new(),
            n => format!("; {} still running", count(n as u64)),
        };
        page.wrapped(
            Style::Plain,
            &format!(
                "load     no statement ran to its end during the profile ({} client backends seen){open}",
                count(backends)
            ),
            9,
            3,
        );
        return;
    }
    let mut text = format!(
        "load     {} statements/s ({} in all), {} active on average, {} error{}",
        rate(statements.count as f64 / seconds),
        count(statements.count),
        rate(active),
        count(statements.errors),
        if statements.errors == 1 { "" } else { "s" }
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
    page.wrapped(Style::Plain, &text, 9, 3);
    page.wrapped(Style::Plain, &format!("latency  {}", percentiles(&statements.latency)), 9, 4);
}

/// All percentiles, `p50 1.23 ms` and so on. The space within is no place to break a line.
pub(super) fn percentiles(hist: &Hist) -> String {
    let all = [
        ("p50", hist.p50),
        ("p90", hist.p90),
        ("p95", hist.p95),
        ("p99", hist.p99),
        ("p99.9", hist.p999),
        ("max", hist.max),
    ];
    all.map(|(name, ns)| tie(&format!("{name} {}", duration(ns)))).join("  ")
}

/// Unfinished statements on the first screen. A busy server always has some in flight; one that takes long is news.
pub(super) fn stuck_rows(report: &Report) -> usize {
    let long = report.unfinished.iter().filter(|open| open.elapsed_ns >= STUCK_NS || open.began_before).count();
    long.min(STUCK_ROWS)
}

fn stuck(report: &Report, page: &mut Page) {
    let rows = stuck_rows(report);
    if rows == 0 {
        return;
    }
    page.blank();
    let table = super::statements::unfinished_table(report, rows);
    page.table(&table);
    page.more(report.unfinished.len() - rows, "below");
}

fn findings(report: &Report, page: &mut Page) {
    if report.findings.is_empty() {
        return;
    }
    page.blank();
    for finding in report.findings.iter().take(FINDING_ROWS) {
        page.styled(style_of(&finding.severity), &format!("{}: {}", finding.severity, finding.title));
    }
    page.more(report.findings.len().saturating_sub(FINDING_ROWS), "below");
}

pub(super) fn style_of(severity: &str) -> Style {
    match severity {
        "critical" => Style::Red,
        "warning" => Style::Yellow,
        _ => Style::Plain,
    }
}

/// A part's name: its wait event, or its state where it has none.
pub(super) fn part_name(part: &LedgerPart) -> String {
    match (&part.wait_event_type, &part.wait_event) {
        (Some(class), Some(event)) => format!("{class}:{event}"),
        (Some(class), None) => class.clone().into_owned(),
        _ => match (&*part.state, &part.cause) {
            ("cpu", _) => "on CPU".into(),
            ("runnable", _) => "waiting for a CPU".into(),
            ("blocked", Some(cause)) => cause.clone().into_owned(),
            ("blocked", None) => "no wait event".into(),
            (state, _) => state.into(),
        },
    }
}

/// The parts of a ledger by name, whatever the cause, largest first, and what is missing to the wall time as
/// `unattributed`.
pub(super) struct Line {
    pub state: String,
    pub name: String,
    pub causes: Vec<String>,
    pub ns: u64,
}

pub(super) fn lines(ledger: &Ledger) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    let sum: u64 = ledger.parts.iter().map(|part| part.ns).sum();
    let mut missing = ledger.wall_ns.saturating_sub(sum);
    for part in ledger.parts.iter().filter(|part| part.ns > 0) {
        let name = part_name(part);
        if part.state == "unattributed" {
            missing += part.ns;
            continue;
        }
        let at = out.iter().position(|line| line.state == part.state && line.name == name).unwrap_or_else(|| {
            out.push(Line { state: part.state.clone().into_owned(), name, causes: Vec::new(), ns: 0 });
            out.len() - 1
        });
        out[at].ns += part.ns;
        if let Some(cause) = part
            .cause
            .as_ref()
            .map(|cause| cause.clone().into_owned())
            .filter(|cause| !out[at].causes.contains(cause) && out[at].name != *cause)
        {
            out[at].causes.push(cause);
        }
    }
    if missing > 0 {
        out.push(Line { state: "unattributed".into(), name: "unattributed".into(), causes: Vec::new(), ns: missing });
    }
    out.sort_by_key(|line| std::cmp::Reverse(line.ns));
    out
}

fn where_the_time_went(report: &Report, page: &mut Page) {
    let all = lines(&report.statements.ledger);
    if all.is_empty() {
        return;
    }
    page.blank();
    let each = |ns: u64| duration_f(ns as f64 / report.statements.count.max(1) as f64);
    let mut table = Table::new()
        .number("SHARE", 0)
        .number("TOTAL", 2)
        .number("PER STATEMENT", 3)
        .name("STATE", 4)
        .text("WHERE THE TIME WENT", 0)
        .name("CAUSE", 5);
    // The small ones in one row, unless that row would stand for one.
    let cut = if all.len() > LEDGER_ROWS { LEDGER_ROWS - 1 } else { all.len() };
    let (shown, rest) = all.split_at(cut);
    let rest_ns: u64 = rest.iter().map(|line| line.ns).sum();
    let mut sizes: Vec<u64> = shown.iter().map(|line| line.ns).collect();
    if !rest.is_empty() {
        sizes.push(rest_ns);
    }
    let shares = tenths(&sizes);
    for (line, share) in shown.iter().zip(&shares) {
        let state = if line.state == "unattributed" { "" } else { &line.state };
        table.row(vec![
            tenths_text(*share),
            duration(line.ns),
            each(line.ns),
            state.into(),
            line.name.clone(),
            line.causes.join(", "),
        ]);
    }
    if !rest.is_empty() {
        let last = shares.last().copied().unwrap_or(0);
        let text = format!("{} smaller parts", rest.len());
        table.row(vec![tenths_text(last), duration(rest_ns), each(rest_ns), "".into(), text, "".into()]);
    }
    page.table(&table);
}

fn top_statements(report: &Report, page: &mut Page) {
    if report.queries.is_empty() {
        return;
    }
    page.blank();
    let mut table = Table::new()
        .number("SHARE", 0)
        .number("TOTAL", 4)
        .number("CALLS", 3)
        .number("MEAN", 1)
        .number("P99", 2)
        .number("MAX", 5)
        .main_text("TOP STATEMENTS BY TOTAL TIME");
    let all = super::statements::by_time(report);
    for query in all.iter().take(STATEMENT_ROWS) {
        table.row(vec![
            percent(super::statements::share(report, query)),
            duration(query.ledger.wall_ns),
            count(query.calls),
            duration_f(query.latency.mean),
            duration(query.latency.p99),
            duration(query.latency.max),
            query.query.clone(),
        ]);
    }
    page.table(&table);
    let left = all.len().saturating_sub(STATEMENT_ROWS);
    if left > 0 {
        let rest: f64 = all.iter().skip(STATEMENT_ROWS).map(|q| super::statements::share(report, q)).sum();
        page.styled(Style::Dim, &format!(" {:>6}  … in {} more classes", percent(rest), count(left as u64)));
    }
}

fn syncs(report: &Report, page: &mut Page) {
    if report.fsync.by.is_empty() {
        return;
    }
    let groups = SyncGroup::by_role_and_kind(&report.fsync.by);
    page.blank();
    let mut table = Table::new()
        .name("WHO SYNCS", 0)
        .name("WHAT", 0)
        .number("SYNCS", 0)
        .number("TOTAL", 3)
        .number("P50", 4)
        .number("P99", 1)
        .number("MAX", 2)
        .number("FAILED", 0);
    let any_failed = groups.iter().any(|group| group.errors > 0);
    for group in groups.iter().take(SYNC_ROWS) {
        let failed = if any_failed { count(group.errors) } else { String::new() };
        table.row(vec![
            group.role.clone(),
            group.kind.clone(),
            count(group.count),
            duration(group.total_ns),
            duration(group.latency.p50),
            duration(group.latency.p99),
            duration(group.latency.max),
            failed,
        ]);
    }
    page.table(&table);
    let left = groups.len().saturating_sub(SYNC_ROWS);
    if left > 0 {
        let rest: u64 = groups.iter().skip(SYNC_ROWS).map(|group| group.count).sum();
        page.styled(
            Style::Dim,
            &format!(" … and {} syncs of {} more roles and kinds", count(rest), count(left as u64)),
        );
    }
}

fn lost(report: &Report, page: &mut Page) {
    let total: u64 = report.coverage.lost.values().sum();
    let mut reasons: Vec<(&String, &u64)> = report.coverage.lost.iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    // What was lost by all means, then as many of the zeros as fit on the line.
    let mut text = String::new();
    for (i, (reason, n)) in reasons.iter().enumerate() {
        let one = format!("{}{reason} {}", if i > 0 { ", " } else { "" }, count(**n));
        let left = reasons.len() - i - 1;
        let room = page.width.saturating_sub(32);
        if **n == 0 && i > 0 && width(&text) + width(&one) > room && left > 0 {
            text.push_str(&format!(", {} more 0", left + 1));
            break;
        }
        text.push_str(&one);
    }
    if text.is_empty() {
        text.push_str("nothing is counted");
    }
    let style = if total > 0 { Style::Red } else { Style::Plain };
    page.styled(style, &format!("lost: {} ({text})", count(total)));
}

fn cost(report: &Report, page: &mut Page) {
    let overhead = &report.coverage.overhead;
    let of_core = |ns: u64| percent(ns as f64 / report.duration_ns.max(1) as f64);
    let per = if report.statements.count > 0 {
        let ns = overhead.run_ns_per_statement;
        tie(&format!(", {} per statement", duration_f(ns))).replacen(TIE, " ", 1)
    } else {
        String::new()
    };
    let source = match overhead.source.as_str() {
        "calibrated" => ", estimated",
        _ => "",
    };
    let text = format!(
        "cost: {} of one core in eBPF ({} hits{per}{source}), pgstrobe itself {} of a core, {}",
        of_core(overhead.run_ns),
        count(overhead.hits),
        of_core(overhead.own_cpu_ns),
        tie(&bytes(overhead.own_rss_bytes))
    );
    page.wrapped(Style::Plain, &text, 6, 3);
}
