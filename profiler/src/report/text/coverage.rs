//! The findings in full, and how far the report can be trusted: probes, losses, notes.

use super::format::{count, duration};
use super::summary::style_of;
use super::table::Table;
use super::{Page, Style};
use crate::report::model::{Finding, Report};

pub(super) fn findings(report: &Report, page: &mut Page) {
    if report.findings.is_empty() {
        return;
    }
    page.heading("FINDINGS");
    for finding in &report.findings {
        page.wrapped(style_of(&finding.severity), &title(finding), 3, 3);
        for evidence in &finding.evidence {
            page.wrapped(Style::Plain, &format!("   - {evidence}"), 5, 3);
        }
        page.wrapped(Style::Plain, &format!("   => {}", finding.advice), 6, 8);
    }
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
    format!(" {} ({}{sure}{time}): {}", finding.severity, finding.id, finding.title)
}

pub(super) fn probes(report: &Report, page: &mut Page) {
    let probes = &report.coverage.probes;
    if probes.is_empty() {
        return;
    }
    page.heading("PROBES");
    let mut table = Table::new()
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
        let some = |text: String| if probe.run_ns == 0 { "-".into() } else { text };
        table.row(vec![
            probe.name.clone(),
            state.into(),
            count(probe.hits),
            some(duration(probe.run_ns)),
            some(duration(probe.run_ns / probe.hits.max(1))),
            probe.hooks.join(", "),
        ]);
    }
    page.table(&table);
    for probe in probes {
        if let Some(reason) = &probe.reason {
            page.wrapped(Style::Plain, &format!(" {}: {reason}", probe.name), 3, 4);
        }
    }
}

pub(super) fn notes(report: &Report, page: &mut Page) {
    for note in &report.coverage.notes {
        page.wrapped(Style::Plain, &format!(" note: {note}"), 3, 4);
    }
}

pub(super) fn losses(report: &Report, page: &mut Page) {
    page.heading("LOST AND NOT SEEN");
    for (reason, n) in &report.coverage.lost {
        let style = if *n > 0 { Style::Red } else { Style::Plain };
        page.styled(style, &format!(" {} {reason}", count(*n)));
    }
    let saturated = report.statements.latency.saturated;
    if saturated > 0 {
        page.line(&format!(
            " {} statements longer than an hour stand in the hour's bucket; max is exact",
            count(saturated)
        ));
    }
    notes(report, page);
    let host = &report.host;
    let machine = if host.virtualized { "virtual machine" } else { "bare metal" };
    page.wrapped(
        Style::Dim,
        &format!(
            " pgstrobe {} on Linux {}, {} CPUs, {machine}, begun {}",
            report.version, host.kernel, host.cpus, report.started_at
        ),
        3,
        3,
    );
}
