//! WAL and checkpoints.

use crate::{
    page::{Cell, Line, Section, Table},
    report::model::{Checkpoint, Hist, Overlay, Report, Wal, sum},
    words::{bytes, count, duration, percent, rate, tie},
};

/// Files named below the table of checkpoints.
const FILES: usize = 3;
/// Roles that are named.
const ROLES: usize = 4;
/// Classes that took longer during checkpoints.
const VICTIMS: usize = 5;

pub(super) fn sections(report: &Report, top: usize) -> impl Iterator<Item = Section> {
    let wal = &report.storage.wal;
    let overlay = wal.overlay.as_ref().map(|overlay| overlaid(overlay, top));
    [written(report, wal), checkpoints(wal, top), overlay].into_iter().flatten()
}

fn written(report: &Report, wal: &Wal) -> Option<Section> {
    let all = wal.written.as_ref().filter(|all| all.records > 0)?;
    let per_second = all.bytes as f64 * 1e9 / report.duration_ns.max(1) as f64;
    let mut section =
        Section::new(format!("WAL WRITTEN: {}, {} per second", bytes(all.bytes), bytes(per_second as u64)));
    let mut say = |line: Line| section.line(line.indent(1).wrap(2, 3));
    let share = all.full_page_bytes_at_most as f64 / all.bytes.max(1) as f64;
    let images = match all.full_page_images {
        0 => "no full-page images".into(),
        n => tie(&format!("{} full-page images (at most {} of it)", count(n), percent(share))),
    };
    say(Line::text(format!("{}, {images}", tie(&format!("{} records", count(all.records))))));
    say(Line::text(syncs(wal)));
    let by: Vec<String> =
        wal.by_role.iter().take(ROLES).map(|by| tie(&format!("{} {}", by.role, bytes(by.written.bytes)))).collect();
    say(Line::text(by.join(", ")).label("by role:"));
    if let Some(archiver) = wal.archiver.as_ref().filter(|archiver| archiver.waits > 0 || archiver.ready > 0) {
        let text = format!(
            "waited {} for its command, {}; {} not archived yet",
            tie(&duration(archiver.wait_ns)),
            tie(&format!("{} times", count(archiver.waits))),
            tie(&format!("{} segments", count(archiver.ready)))
        );
        say(Line::text(text).label("archiver:"));
    }
    Some(section)
}

/// What made WAL durable, and how many transactions shared a sync.
fn syncs(wal: &Wal) -> String {
    let syncs = sum(wal.syncs.values().copied());
    let calls: Vec<String> = wal.syncs.iter().map(|(call, n)| format!("{} {call}", count(*n))).collect();
    let mut text = match syncs {
        0 => "no sync of WAL".into(),
        n => format!("{} ({})", tie(&format!("{} syncs of WAL", count(n))), calls.join(", ")),
    };
    if let Some(transactions) = wal.transactions.filter(|n| *n > 0) {
        text += &format!(", {}", tie(&format!("{} writing transactions", count(transactions))));
        if syncs > 0 {
            text += &tie(&format!(": {} per sync", rate(transactions as f64 / syncs as f64)));
        }
    }
    text
}

fn checkpoints(wal: &Wal, top: usize) -> Option<Section> {
    if wal.checkpoints.is_empty() {
        return None;
    }
    let mut table = Table::default()
        .number("BEGUN AT", 0)
        .name("CAUSE", 0)
        .number("WRITE", 0)
        .number("SYNC", 0)
        .number("FINISH", 7)
        .number("TOTAL", 0)
        .number("BUFFERS", 3)
        .number("FILES", 4)
        .number("LONGEST", 5)
        .number("WAL BEFORE", 6)
        .number("STATEMENTS", 2)
        .number("P99", 1);
    // The last ones: what is under way is among them.
    let left_out = wal.checkpoints.len().saturating_sub(top);
    for one in &wal.checkpoints[left_out..] {
        table.row(checkpoint(one));
    }
    let mut section = Section::new(format!("CHECKPOINTS: {}, causes inferred", count(wal.checkpoints.len() as u64)));
    section.table(table);
    section.more(wal.checkpoints.len(), top, "earlier checkpoints");
    let files = slowest_files(wal);
    if !files.is_empty() {
        section.line(Line::text(files).indent(1).label("slowest syncs:").wrap(2, 4));
    }
    Some(section)
}

fn checkpoint(one: &Checkpoint) -> Vec<Cell> {
    let phase = |ns| Cell::or_missing(ns, Cell::Duration);
    vec![
        Cell::Moment(one.began_ns),
        Cell::text(format!("{}{}", one.cause, if one.restartpoint { " (restartpoint)" } else { "" })),
        phase(one.write_ns),
        phase(one.sync_ns),
        phase(one.finish_ns),
        if one.running { Cell::SoFar(one.total_ns) } else { Cell::Duration(one.total_ns) },
        Cell::Count(sum([one.buffers, one.slru_buffers.unwrap_or(0)])),
        Cell::Count(one.files),
        phase(one.longest_sync_ns),
        one.distance_bytes.map_or(Cell::Missing, Cell::Bytes),
        Cell::Count(one.statements.count),
        phase(one.statements.p99),
    ]
}

/// The files whose syncs took longest, in all checkpoints.
fn slowest_files(wal: &Wal) -> String {
    let mut files: Vec<(u64, &Checkpoint, &str)> = Vec::new();
    for one in &wal.checkpoints {
        files.extend(one.slowest_files.iter().map(|file| (file.sync_ns, one, file.file.as_str())));
    }
    files.sort_by_key(|(ns, ..)| std::cmp::Reverse(*ns));
    let texts: Vec<String> = files
        .iter()
        .take(FILES)
        .map(|(ns, one, file)| {
            let begun = Cell::Moment(one.began_ns);
            format!("{file} {}", tie(&format!("{} (begun at {begun})", duration(*ns))))
        })
        .collect();
    texts.join(", ")
}

fn overlaid(overlay: &Overlay, top: usize) -> Section {
    let mut section = Section::new("STATEMENTS DURING CHECKPOINTS AND OUTSIDE");
    let mut table = Table::default()
        .name("", 0)
        .number("STATEMENTS", 0)
        .number("MEAN", 0)
        .number("P50", 2)
        .number("P99", 0)
        .number("MAX", 1);
    let row = |name: &str, hist: &Hist| {
        let time = |ns| Cell::Duration(ns).when(hist.count > 0);
        let (mean, p50, p99, max) = (time(hist.mean as u64), time(hist.p50), time(hist.p99), time(hist.max));
        vec![Cell::text(name), Cell::Count(hist.count), mean, p50, p99, max]
    };
    table.row(row("during", &overlay.during));
    for (name, hist) in [("writing", &overlay.write), ("syncing", &overlay.sync), ("finishing", &overlay.finish)] {
        table.child(1, row(name, hist));
    }
    table.row(row("outside", &overlay.outside));
    section.table(table);
    if !overlay.victims.is_empty() {
        section.table(victims(overlay, top));
    }
    section
}

fn victims(overlay: &Overlay, top: usize) -> Table {
    let mut table = Table::default()
        .number("LONGER BY", 0)
        .number("CALLS", 3)
        .number("MEAN", 1)
        .number("OUTSIDE", 2)
        .number("P99", 4)
        .number("OUTSIDE", 5)
        .main_text("STATEMENTS THAT TOOK LONGER");
    for victim in overlay.victims.iter().take(top.min(VICTIMS)) {
        table.row(vec![
            Cell::Duration(victim.excess_ns),
            Cell::Count(victim.during.count),
            Cell::mean(victim.during.mean),
            Cell::mean(victim.outside.mean),
            Cell::Duration(victim.during.p99),
            Cell::Duration(victim.outside.p99),
            Cell::code(&victim.query),
        ]);
    }
    table
}
