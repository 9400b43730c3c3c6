//! The findings in full, and how far the report can be trusted: probes, losses, notes.

use super::summary::tone_of;
use crate::{
    page::{Block, Cell, Entry, Line, Section, Table, Tone},
    report::model::{Finding, Report},
    words::{count, duration},
};

pub(super) fn findings(report: &Report) -> Option<Section> {
    if report.findings.is_empty() {
        return None;
    }
    let mut section = Section::new("FINDINGS");
    let entries = report.findings.iter().map(finding).collect();
    section.blocks.push(Block::Entries { entries, spaced: false });
    Some(section)
}

fn finding(finding: &Finding) -> Entry {
    let evidence = |text: &String| Line::text(text).indent(3).label("-").wrap(5, 3);
    let mut lines: Vec<Line> = finding.evidence.iter().map(evidence).collect();
    lines.push(Line::text(&finding.advice).indent(3).label("=>").wrap(6, 8));
    Entry { title: Line::text(title(finding)).indent(1).tone(tone_of(finding)).wrap(3, 3), lines }
}

fn title(finding: &Finding) -> String {
    let sure = match finding.confidence.as_str() {
        "" => String::new(),
        sure => format!(", confidence {sure}"),
    };
    let time = match finding.explained_ns {
        0 => String::new(),
        ns => format!(", explains {}", duration(ns)),
    };
    format!("{} ({}{sure}{time}): {}", finding.severity, finding.id, finding.title)
}

pub(super) fn probes(report: &Report) -> Option<Section> {
    let probes = &report.coverage.probes;
    if probes.is_empty() {
        return None;
    }
    let mut table = Table::default()
        .name("PROBE", 0)
        .name("STATE", 0)
        .number("HITS", 2)
        .number("TIME", 3)
        .number("EACH", 4)
        .text("HOOKS", 1);
    for probe in probes {
        let state = match (probe.attached, probe.hits) {
            (false, _) => "not attached",
            (true, 0) => "never fired",
            (true, _) => "attached",
        };
        // None of its hits was timed: its time is unknown, and not zero.
        let measured = probe.run_ns > 0;
        table.row(vec![
            Cell::name(&probe.name),
            Cell::text(state),
            Cell::Count(probe.hits),
            Cell::Duration(probe.run_ns).when(measured),
            Cell::Duration(probe.run_ns / probe.hits.max(1)).when(measured),
            Cell::name(probe.hooks.join(", ")),
        ]);
    }
    let mut section = Section::new("PROBES");
    section.table(table);
    for probe in probes {
        if let Some(reason) = &probe.reason {
            section.line(Line::text(reason).indent(1).label(format!("{}:", probe.name)).wrap(3, 4));
        }
    }
    Some(section)
}

pub(super) fn notes(report: &Report, section: &mut Section) {
    for note in &report.coverage.notes {
        section.line(Line::text(note).indent(1).label("note:").wrap(3, 4));
    }
}

pub(super) fn losses(report: &Report) -> Section {
    let mut section = Section::new("LOST AND NOT SEEN");
    for (reason, n) in &report.coverage.lost {
        let tone = if *n > 0 { Tone::Critical } else { Tone::Plain };
        section.line(Line::text(format!("{} {reason}", count(*n))).indent(1).tone(tone));
    }
    let saturated = report.statements.latency.saturated;
    if saturated > 0 {
        let text = format!(
            "{} statements took longer than an hour and count as one hour in the percentiles; max is exact",
            count(saturated)
        );
        section.line(Line::text(text).indent(1));
    }
    notes(report, &mut section);
    let host = &report.host;
    let machine = if host.virtualized { "virtual machine" } else { "bare metal" };
    let text = format!(
        "pgstrobe {} on Linux {}, {} CPUs, {machine}, begun {}",
        report.version, host.kernel, host.cpus, report.started_at
    );
    section.line(Line::text(text).indent(1).tone(Tone::Faint).wrap(3, 3));
    section
}
