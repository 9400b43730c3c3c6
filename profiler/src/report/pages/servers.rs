//! The first screen of several servers: which one to look at first.

use super::{active, plural, seconds, summary::tone_of};
use crate::{
    page::{Cell, Item, Line, Section, Table, Tone},
    report::{
        model::{Finding, Report},
        phrases::parts::listed_together,
    },
    words::{count, duration},
};

/// Reports of servers in the order in which they are shown: the one with most active sessions first.
pub fn ranked(reports: &[Report]) -> Vec<&Report> {
    let mut ranked: Vec<&Report> = reports.iter().collect();
    ranked.sort_by(|a, b| active(b).total_cmp(&active(a)));
    ranked
}

/// Ranks servers that were profiled at the same time, a report each: the one with most active sessions first.
pub fn servers(reports: &[Report]) -> Section {
    let ranked = ranked(reports);
    let mut section = Section::first();
    let (n, took) = (reports.len() as u64, reports.iter().map(|report| report.duration_ns).max().unwrap_or(0));
    let text = format!("{} PostgreSQL server{} in {}, the busiest first", count(n), plural(n), duration(took));
    section.line(Line::text(text).tone(Tone::Strong));
    let mut table = Table::default()
        .number("ACTIVE", 0)
        .number("STMT/S", 1)
        .number("P99", 2)
        .text("MOSTLY IN", 3)
        .number("PORT", 0)
        .name("VERSION", 4)
        .name("CONTAINER OR UNIT", 5)
        .main_path("DATA DIRECTORY");
    ranked.iter().for_each(|report| table.row(row(report)));
    section.table(table);
    ranked.iter().filter_map(|report| Some(loudest(report, finding(report)?))).for_each(|line| section.line(line));
    section
}

fn row(report: &Report) -> Vec<Cell> {
    let statements = &report.statements;
    let open = report.unfinished.iter().map(|open| &open.ledger);
    let cluster = report.clusters.first();
    vec![
        Cell::Rate(active(report)),
        Cell::Rate(statements.count as f64 / seconds(report)),
        Cell::Duration(statements.latency.p99).when(statements.count > 0),
        Cell::text(listed_together(std::iter::once(&statements.ledger).chain(open), 1)),
        cluster.and_then(|cluster| cluster.port).map_or(Cell::Missing, |port| Cell::Id(port.into())),
        cluster.map_or(Cell::Missing, |cluster| Cell::name(&cluster.version)),
        match cluster.and_then(|cluster| cluster.container.as_deref()) {
            Some(id) => Cell::name(format!("{id:.12}")),
            None => Cell::name(&report.storage.block.cgroup),
        },
        cluster.map_or(Cell::Missing, |cluster| Cell::name(&cluster.data_directory)),
    ]
}

/// The loudest finding of a report; of equally loud ones the first, which weighs most.
fn finding(report: &Report) -> Option<&Finding> {
    let loud = |finding: &&Finding| match tone_of(finding) {
        Tone::Critical => 0,
        Tone::Warning => 1,
        _ => 2,
    };
    report.findings.iter().min_by_key(loud)
}

fn loudest(report: &Report, finding: &Finding) -> Line {
    let port = report.clusters.first().and_then(|cluster| cluster.port);
    let text = Item::text(format!("{}: {}", finding.severity, finding.title));
    let label = match (port, report.clusters.first()) {
        (Some(port), _) => format!("port {port}:"),
        (None, Some(cluster)) => format!("pid {}:", cluster.postmaster_pid),
        (None, None) => String::new(),
    };
    Line::new(vec![text]).indent(1).label(label).tone(tone_of(finding)).wrap(3, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        page::Page,
        report::{
            fixture::{busy, idle},
            text::{TextOptions, draw},
        },
    };

    fn on_port(mut report: Report, port: u16, statements: u64) -> Report {
        report.clusters[0].port = Some(port);
        report.statements.ledger.wall_ns *= statements;
        report
    }

    /// The one with most active sessions stands first, whatever the order of the reports, and one on which nothing ran
    /// last; each has its loudest finding.
    #[test]
    fn the_busiest_stands_first() {
        let mut stopped = busy();
        stopped.clusters[0].port = None;
        stopped.clusters[0].postmaster_pid = 99;
        stopped.statements = Default::default();
        stopped.findings.reverse();
        let reports = [idle(), on_port(busy(), 5433, 1), stopped, on_port(busy(), 5434, 9)];
        let section = servers(&reports);
        let ports: Vec<Cell> = match &section.blocks[1] {
            crate::page::Block::Table(table) => table.rows.iter().map(|row| row.cells[4].clone()).collect(),
            other => panic!("{other:?}"),
        };
        assert_eq!(ports, [Cell::Id(5434), Cell::Id(5433), Cell::Missing, Cell::Id(5432)]);
        let page = Page { sections: vec![section] };
        let text = draw(&page, &TextOptions { width: 132, ..TextOptions::default() });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "4 PostgreSQL servers in 10.0 s, the busiest first");
        assert!(lines[1].starts_with(" ACTIVE  STMT/S      P99  MOSTLY IN"), "{text}");
        let warnings: Vec<&str> = lines.iter().copied().filter(|line| line.contains("warning: ")).collect();
        assert!(warnings.len() == 3 && warnings[0].starts_with(" port 5434: warning: "), "{text}");
        assert!(warnings[2].starts_with(" pid 99: warning: "), "{text}");
        assert!(lines.iter().any(|line| line.contains("     0        -")), "{text}");
        for width in 20..140 {
            let text = draw(&page, &TextOptions { width, ..TextOptions::default() });
            assert!(text.lines().all(|line| crate::words::width(line) <= width), "{text}");
        }
    }
}
