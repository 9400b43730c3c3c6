//! Tables of writeback, and what makes a backend wait for it.

use std::collections::BTreeMap;

use crate::report::{
    model::{Pause, Pauses, Writeback, WritebackSettings, WritebackSlice},
    text::{
        Page, Style,
        format::{bytes, count, duration, short},
        table::Table,
    },
};

/// Rows of the timeline; with more slices some become one.
const ROWS: usize = 12;

pub(super) fn render(writeback: &Writeback, page: &mut Page) {
    let pauses = writeback.pauses.latency.count;
    if writeback.by.is_empty() && pauses == 0 {
        return;
    }
    page.heading(&format!(
        "WRITEBACK: {} written to the devices of this host by all ways; the kernel's flusher sent off {}",
        bytes(writeback.written_bytes),
        bytes(writeback.flushed_bytes(None))
    ));
    by_device(writeback, page);
    if writeback.timeline.len() > 1 {
        page.heading("WRITEBACK OVER TIME, OF THE WHOLE HOST");
        timeline(&writeback.timeline, page);
    }
    if pauses > 0 {
        paused(&writeback.pauses, page);
    }
    page.wrapped(Style::Dim, &format!(" settings: {}", settings(&writeback.settings)), 3, 4);
}

fn by_device(writeback: &Writeback, page: &mut Page) {
    let mut table = Table::new()
        .name("DEVICE", 0)
        .name("OF THE SERVER", 2)
        .name("REASON", 0)
        .number("WRITTEN", 0)
        .number("FLUSHER AT WORK", 3)
        .path("CGROUP", 1);
    for by in writeback.by.iter().take(page.top) {
        table.row(vec![
            by.device_name.clone().unwrap_or_else(|| by.device.clone()),
            by.holds.join(", "),
            by.reason.clone(),
            bytes(by.bytes),
            duration(by.busy_ns),
            by.cgroup.clone().unwrap_or_default(),
        ]);
    }
    page.table(&table);
    page.more(writeback.by.len().saturating_sub(page.top), "devices and reasons");
}

fn timeline(slices: &[WritebackSlice], page: &mut Page) {
    let mut table = Table::new()
        .number("AT", 0)
        .number("WRITTEN", 0)
        .number("BACKGROUND", 2)
        .number("PERIODIC", 3)
        .number("OTHER REASONS", 4)
        .number("DIRTY", 0)
        .number("ON THE WAY", 1)
        .number("PAUSES", 0)
        .number("PAUSED", 0);
    let or_none = |n: u64| if n == 0 { String::new() } else { bytes(n) };
    for several in slices.chunks(slices.len().div_ceil(ROWS)) {
        let one = merged(several);
        let flushed = |reason: &str| one.flushed_bytes.get(reason).copied().unwrap_or(0);
        let all: u64 = one.flushed_bytes.values().sum();
        table.row(vec![
            duration(one.began_ns),
            bytes(one.written_bytes),
            or_none(flushed("background")),
            or_none(flushed("periodic")),
            or_none(all - flushed("background") - flushed("periodic")),
            bytes(one.dirty_bytes),
            bytes(one.writeback_bytes),
            if one.pauses == 0 { String::new() } else { count(one.pauses) },
            if one.pauses == 0 { String::new() } else { duration(one.paused_ns) },
        ]);
    }
    page.table(&table);
}

fn merged(several: &[WritebackSlice]) -> WritebackSlice {
    let mut one = WritebackSlice { began_ns: several.first().map_or(0, |first| first.began_ns), ..Default::default() };
    let mut flushed = BTreeMap::<String, u64>::new();
    for slice in several {
        one.duration_ns += slice.duration_ns;
        one.written_bytes += slice.written_bytes;
        one.dirty_bytes = one.dirty_bytes.max(slice.dirty_bytes);
        one.writeback_bytes = one.writeback_bytes.max(slice.writeback_bytes);
        one.pauses += slice.pauses;
        one.paused_ns += slice.paused_ns;
        for (reason, n) in &slice.flushed_bytes {
            *flushed.entry(reason.clone()).or_default() += n;
        }
    }
    one.flushed_bytes = flushed;
    one
}

fn paused(pauses: &Pauses, page: &mut Page) {
    page.heading(&format!(
        "WRITERS MADE TO PAUSE: {} times, {} in all, because too much was dirty",
        count(pauses.latency.count),
        duration(pauses.total_ns)
    ));
    let mut table = Table::new()
        .number("PAUSES", 0)
        .number("TOTAL", 0)
        .number("P50", 4)
        .number("P99", 3)
        .number("MAX", 0)
        .number("BACKENDS", 5)
        .name("ROLE", 2)
        .main_text("STATEMENT");
    for by in pauses.by.iter().take(page.top) {
        table.row(vec![
            count(by.latency.count),
            duration(by.total_ns),
            duration(by.latency.p50),
            duration(by.latency.p99),
            duration(by.latency.max),
            count(by.pids.len() as u64),
            by.role.clone(),
            by.query.as_deref().map_or("(outside statements)".into(), short),
        ]);
    }
    page.table(&table);
    page.more(pauses.by.len().saturating_sub(page.top), "roles and classes");
    if let Some(longest) = pauses.longest.first() {
        let text = format!(
            " the longest: {} of pid {}, {} after the beginning; {}",
            duration(longest.paused_ns),
            longest.pid,
            duration(longest.began_ns),
            limits(longest)
        );
        page.wrapped(Style::Plain, &text, 3, 3);
    }
}

/// `147 MiB dirty, limit 4.52 GiB, flusher from 2.26 GiB; of loop0 alone 24.9 MiB, limit 32.1 MiB`
pub(crate) fn limits(pause: &Pause) -> String {
    let mut out = format!(
        "{} dirty, limit {}, flusher from {}",
        bytes(pause.dirty_bytes),
        bytes(pause.limit_bytes),
        bytes(pause.background_limit_bytes)
    );
    if !pause.device.is_empty() {
        let (dirty, limit) = (bytes(pause.device_dirty_bytes), bytes(pause.device_limit_bytes));
        let name = pause.device_name.as_deref().unwrap_or(&pause.device);
        out += &format!("; of {name} alone {dirty}, limit {limit}");
    }
    out
}

/// What is set, in the words of `sysctl` and `postgresql.conf`.
pub(crate) fn settings(settings: &WritebackSettings) -> String {
    let mut out = vec![dirty_setting("background_", settings), dirty_setting("", settings)];
    for (name, ns) in [("expire", settings.dirty_expire_ns), ("writeback", settings.dirty_writeback_ns)] {
        out.push(format!("vm.dirty_{name}_centisecs = {}", ns / 10_000_000));
    }
    for (name, after) in [
        ("backend_flush_after", settings.backend_flush_after_bytes),
        ("bgwriter_flush_after", settings.bgwriter_flush_after_bytes),
        ("checkpoint_flush_after", settings.checkpoint_flush_after_bytes),
    ] {
        out.extend(after.map(|after| format!("{name} = {}", flush_after(after))));
    }
    out.join(", ")
}

/// `vm.dirty_background_ratio = 10 (2.25 GiB)`, or the setting in bytes where that one holds; `kind` is `background_` or
/// nothing.
pub(crate) fn dirty_setting(kind: &str, settings: &WritebackSettings) -> String {
    let (set, ratio, is) = match kind {
        "" => (settings.dirty_bytes, settings.dirty_ratio, settings.limit_bytes),
        _ => (settings.dirty_background_bytes, settings.dirty_background_ratio, settings.background_limit_bytes),
    };
    match set {
        0 => format!("vm.dirty_{kind}ratio = {ratio} ({})", bytes(is)),
        set => format!("vm.dirty_{kind}bytes = {set}"),
    }
}

/// As `postgresql.conf` has it: `256kB`, `0` for off.
fn flush_after(bytes: u64) -> String {
    if bytes == 0 { "0".into() } else { format!("{}kB", bytes / 1024) }
}
