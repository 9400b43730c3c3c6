//! The first screen.

use super::format::{TIE, bytes, count, duration, duration_f, percent, rate, tenths, tenths_text, tie, width};
use super::parts::{Line, lines, together};
use super::table::Table;
use super::{Page, Style};
use crate::report::model::{Hist, Report};

/// Lines that each part of the first screen may take.
const LEDGER_ROWS: usize = 6;
const STATEMENT_ROWS: usize = 3;
/// A statement that has run for this long is shown on the first screen, in nanoseconds.
const STUCK_NS: u64 = 1_000_000_000;
const STUCK_ROWS: usize = 3;
const FINDING_ROWS: usize = 3;

pub(super) fn render(report: &Report, page: &mut Page) {
    headline(report, page);
    load(report, page);
    where_the_time_went(report, page);
    findings(report, page);
    stuck(report, page);
    if report.statements.count > 0 {
        top_statements(report, page);
    }
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
    for (i, finding) in report.findings.iter().take(FINDING_ROWS).enumerate() {
        let sure = match finding.confidence.as_str() {
            "" => String::new(),
            sure => format!(" ({sure} confidence)"),
        };
        let title = format!("{}{sure}: {}", finding.severity, finding.title);
        page.wrapped(style_of(&finding.severity), &title, 2, 2);
        // The first one is the answer: what to do about it in full enough to do it.
        page.wrapped(Style::Plain, &format!("  => {}", finding.advice), 5, if i == 0 { 2 } else { 1 });
    }
    let left = report.findings.len().saturating_sub(FINDING_ROWS);
    if left > 0 {
        page.styled(Style::Dim, &format!("… and {} more below, each with its evidence", count(left as u64)));
    }
}

pub(super) fn style_of(severity: &str) -> Style {
    match severity {
        "critical" => Style::Red,
        "warning" => Style::Yellow,
        _ => Style::Plain,
    }
}

/// Where the time of all statements went, those still open included: on the worst of nights nothing ends.
fn where_the_time_went(report: &Report, page: &mut Page) {
    let open = report.unfinished.iter().map(|open| &open.ledger);
    let all = together(std::iter::once(&report.statements.ledger).chain(open));
    if all.is_empty() {
        return;
    }
    page.blank();
    let ended = lines(&report.statements.ledger);
    let ended_ns = |line: &Line| ended.iter().find(|one| one.is(line)).map_or(0, |one| one.ns);
    let each = |ns: u64| match report.statements.count {
        0 => "-".into(),
        _ if ns == 0 => "-".into(),
        count => duration_f(ns as f64 / count as f64),
    };
    let active = |ns: u64| rate(ns as f64 / report.duration_ns.max(1) as f64);
    let mut table = Table::new()
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
    let rest_ns: u64 = rest.iter().map(|line| line.ns).sum();
    let mut sizes: Vec<u64> = shown.iter().map(|line| line.ns).collect();
    if !rest.is_empty() {
        sizes.push(rest_ns);
    }
    let shares = tenths(&sizes);
    for (line, share) in shown.iter().zip(&shares) {
        table.row(vec![
            tenths_text(*share),
            duration(line.ns),
            active(line.ns),
            each(ended_ns(line)),
            line.p99_ns.map_or("-".into(), duration),
            line.name.clone(),
            line.cause.clone(),
        ]);
    }
    if !rest.is_empty() {
        let last = shares.last().copied().unwrap_or(0);
        table.row(vec![
            tenths_text(last),
            duration(rest_ns),
            active(rest_ns),
            each(rest.iter().map(ended_ns).sum()),
            "-".into(),
            format!("{} smaller parts", rest.len()),
            "".into(),
        ]);
    }
    page.table(&table);
    let open: u64 = report.unfinished.iter().map(|open| open.ledger.wall_ns).sum();
    if open * 100 >= sizes.iter().sum() && report.statements.count > 0 {
        let n = report.unfinished.len() as u64;
        let s = if n == 1 { "" } else { "s" };
        let text =
            format!(" {} of it in {} statement{s} still running, not in PER STMT and P99", duration(open), count(n));
        page.styled(Style::Dim, &text);
    }
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

pub(super) fn lost(report: &Report, page: &mut Page) {
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

pub(super) fn cost(report: &Report, page: &mut Page) {
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
    let unmeasured = match overhead.unmeasured_hits {
        0 => String::new(),
        n => format!(", without {} hits that were not timed", count(n)),
    };
    let text = format!(
        "cost: {} of one core in eBPF ({} hits{per}{source}{unmeasured}), pgstrobe itself {} of a core, {}, and {} of maps in \
         the kernel",
        of_core(overhead.run_ns),
        count(overhead.hits),
        of_core(overhead.own_cpu_ns),
        tie(&bytes(overhead.own_rss_bytes)),
        tie(&bytes(overhead.map_bytes))
    );
    page.wrapped(Style::Plain, &text, 6, 3);
}
