//! Writeback, and what makes a backend wait for it.

use std::collections::BTreeMap;

use super::plural;
use crate::{
    page::{Cell, Line, Section, Table, Tone},
    report::{
        model::{Pauses, Writeback, WritebackSlice, sum},
        phrases::writeback::{limits, settings},
    },
    words::{bytes, count, duration, short},
};

/// Rows of the timeline; with more slices some become one.
const ROWS: usize = 12;

pub(super) fn sections(writeback: &Writeback, top: usize) -> Vec<Section> {
    let pauses = writeback.pauses.latency.count;
    if writeback.by.is_empty() && pauses == 0 {
        return Vec::new();
    }
    let mut out = vec![by_device(writeback, top)];
    if writeback.timeline.len() > 1 {
        out.push(timeline(&writeback.timeline));
    }
    if pauses > 0 {
        out.push(paused(&writeback.pauses, top));
    }
    if let Some(last) = out.last_mut() {
        let text = settings(&writeback.settings);
        last.line(Line::text(text).indent(1).label("settings:").tone(Tone::Faint).wrap(3, 4));
    }
    out
}

fn by_device(writeback: &Writeback, top: usize) -> Section {
    let mut table = Table::default()
        .name("DEVICE", 0)
        .name("OF THE SERVER", 2)
        .name("REASON", 0)
        .number("WRITTEN", 0)
        .number("FLUSHER AT WORK", 3)
        .path("CGROUP", 1);
    for by in writeback.by.iter().take(top) {
        table.row(vec![
            Cell::name(by.device_name.as_ref().unwrap_or(&by.device)),
            Cell::text(by.holds.join(", ")),
            Cell::name(&by.reason),
            Cell::Bytes(by.bytes),
            Cell::Duration(by.busy_ns),
            Cell::name_or_blank(by.cgroup.as_ref()),
        ]);
    }
    let mut section = Section::new(format!(
        "WRITEBACK: {} written to this host's devices in total, {} of it by the kernel's flusher",
        bytes(writeback.written_bytes),
        bytes(writeback.flushed_bytes(None))
    ));
    section.table(table);
    section.more(writeback.by.len(), top, "devices and reasons");
    section
}

fn timeline(slices: &[WritebackSlice]) -> Section {
    let mut table = Table::default()
        .number("AT", 0)
        .number("WRITTEN", 0)
        .number("BACKGROUND", 2)
        .number("PERIODIC", 3)
        .number("OTHER REASONS", 4)
        .number("DIRTY", 0)
        .number("ON THE WAY", 1)
        .number("PAUSES", 0)
        .number("PAUSED", 0);
    for several in slices.chunks(slices.len().div_ceil(ROWS)) {
        let one = merged(several);
        let flushed = |reason: &str| one.flushed_bytes.get(reason).copied().unwrap_or(0);
        let (background, periodic) = (flushed("background"), flushed("periodic"));
        let all = sum(one.flushed_bytes.values().copied());
        table.row(vec![
            Cell::Duration(one.began_ns),
            Cell::Bytes(one.written_bytes),
            Cell::or_blank(background, Cell::Bytes),
            Cell::or_blank(periodic, Cell::Bytes),
            Cell::or_blank(all.saturating_sub(sum([background, periodic])), Cell::Bytes),
            Cell::Bytes(one.dirty_bytes),
            Cell::Bytes(one.writeback_bytes),
            Cell::or_blank(one.pauses, Cell::Count),
            if one.pauses == 0 { Cell::Blank } else { Cell::Duration(one.paused_ns) },
        ]);
    }
    let mut section = Section::new("WRITEBACK OVER TIME (whole host)");
    section.table(table);
    section
}

fn merged(several: &[WritebackSlice]) -> WritebackSlice {
    let mut one = WritebackSlice { began_ns: several.first().map_or(0, |first| first.began_ns), ..Default::default() };
    let mut flushed = BTreeMap::<String, u64>::new();
    for slice in several {
        one.duration_ns = sum([one.duration_ns, slice.duration_ns]);
        one.written_bytes = sum([one.written_bytes, slice.written_bytes]);
        one.dirty_bytes = one.dirty_bytes.max(slice.dirty_bytes);
        one.writeback_bytes = one.writeback_bytes.max(slice.writeback_bytes);
        one.pauses = sum([one.pauses, slice.pauses]);
        one.paused_ns = sum([one.paused_ns, slice.paused_ns]);
        for (reason, n) in &slice.flushed_bytes {
            let of = flushed.entry(reason.clone()).or_default();
            *of = sum([*of, *n]);
        }
    }
    one.flushed_bytes = flushed;
    one
}

fn paused(pauses: &Pauses, top: usize) -> Section {
    let mut table = Table::default()
        .number("PAUSES", 0)
        .number("TOTAL", 0)
        .number("P50", 4)
        .number("P99", 3)
        .number("MAX", 0)
        .number("BACKENDS", 5)
        .name("ROLE", 2)
        .main_text("STATEMENT");
    for by in pauses.by.iter().take(top) {
        table.row(vec![
            Cell::Count(by.latency.count),
            Cell::Duration(by.total_ns),
            Cell::Duration(by.latency.p50),
            Cell::Duration(by.latency.p99),
            Cell::Duration(by.latency.max),
            Cell::Count(by.pids.len() as u64),
            Cell::name(&by.role),
            by.query.as_deref().map_or_else(|| Cell::text("(outside statements)"), |text| Cell::code(short(text))),
        ]);
    }
    let mut section = Section::new(format!(
        "DIRTY-PAGE THROTTLING: the kernel paused writers {} time{}, {} in total",
        count(pauses.latency.count),
        plural(pauses.latency.count),
        duration(pauses.total_ns)
    ));
    section.table(table);
    section.more(pauses.by.len(), top, "roles and classes");
    if let Some(longest) = pauses.longest.first() {
        let text = format!(
            "{} of pid {}, {} after the profile began; {}",
            duration(longest.paused_ns),
            longest.pid,
            duration(longest.began_ns),
            limits(longest)
        );
        section.line(Line::text(text).indent(1).label("the longest:").wrap(3, 3));
    }
    section
}
