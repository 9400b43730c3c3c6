//! Tables of WAL and checkpoints.

use crate::report::{
    model::{Checkpoint, Overlay, Report, Wal},
    text::{
        Page, Style,
        format::{bytes, count, duration, duration_f, percent, rate, tie},
        table::Table,
    },
};

/// Files named below the table of checkpoints.
const FILES: usize = 3;

pub(super) fn render(report: &Report, page: &mut Page) {
    let wal = &report.storage.wal;
    written(report, wal, page);
    checkpoints(wal, page);
    if let Some(overlay) = &wal.overlay {
        overlaid(overlay, page);
    }
}

fn written(report: &Report, wal: &Wal, page: &mut Page) {
    let Some(all) = wal.written.as_ref().filter(|all| all.records > 0) else { return };
    let per_second = all.bytes as f64 * 1e9 / report.duration_ns.max(1) as f64;
    page.heading(&format!("WAL WRITTEN: {}, {} a second", bytes(all.bytes), bytes(per_second as u64)));
    let share = all.full_page_bytes_at_most as f64 / all.bytes.max(1) as f64;
    let images = match all.full_page_images {
        0 => "no full-page images".into(),
        n => tie(&format!("{} full-page images (at most {} of it)", count(n), percent(share))),
    };
    page.wrapped(Style::Plain, &format!(" {}, {images}", tie(&format!("{} records", count(all.records)))), 2, 3);
    let syncs: u64 = wal.syncs.values().sum();
    let calls: Vec<String> = wal.syncs.iter().map(|(call, n)| format!("{} {call}", count(*n))).collect();
    let mut line = match syncs {
        0 => " no sync of WAL".into(),
        n => format!(" {} ({})", tie(&format!("{} syncs of WAL", count(n))), calls.join(", ")),
    };
    if let Some(transactions) = wal.transactions.filter(|n| *n > 0) {
        line += &format!(", {}", tie(&format!("{} transactions that wrote", count(transactions))));
        if syncs > 0 {
            line += &tie(&format!(": {} a sync", rate(transactions as f64 / syncs as f64)));
        }
    }
    page.wrapped(Style::Plain, &line, 2, 3);
    let by: Vec<String> =
        wal.by_role.iter().take(4).map(|by| tie(&format!("{} {}", by.role, bytes(by.written.bytes)))).collect();
    page.wrapped(Style::Plain, &format!(" by role: {}", by.join(", ")), 2, 3);
    if let Some(archiver) = wal.archiver.as_ref().filter(|archiver| archiver.waits > 0 || archiver.ready > 0) {
        let line = format!(
            " archiver: {} in {} of its command, {} still to be archived",
            tie(&duration(archiver.wait_ns)),
            tie(&format!("{} waits for the end", count(archiver.waits))),
            tie(&format!("{} segments", count(archiver.ready)))
        );
        page.wrapped(Style::Plain, &line, 2, 3);
    }
}

fn checkpoints(wal: &Wal, page: &mut Page) {
    if wal.checkpoints.is_empty() {
        return;
    }
    page.heading(&format!("CHECKPOINTS: {}, causes inferred", count(wal.checkpoints.len() as u64)));
    let mut table = Table::new()
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
    let left_out = wal.checkpoints.len().saturating_sub(page.top);
    for one in &wal.checkpoints[left_out..] {
        let running = if one.running { " so far" } else { "" };
        let statements = &one.statements;
        table.row(vec![
            begun(one),
            format!("{}{}", one.cause, if one.restartpoint { " (restartpoint)" } else { "" }),
            phase(one.write_ns),
            phase(one.sync_ns),
            phase(one.finish_ns),
            format!("{}{running}", duration(one.total_ns)),
            count(one.buffers + one.slru_buffers.unwrap_or(0)),
            count(one.files),
            phase(one.longest_sync_ns),
            one.distance_bytes.map_or("-".into(), bytes),
            count(statements.count),
            phase(statements.p99),
        ]);
    }
    page.table(&table);
    page.more(left_out, "earlier checkpoints");
    let mut files: Vec<(u64, &Checkpoint, &str)> = Vec::new();
    for one in &wal.checkpoints {
        files.extend(one.slowest_files.iter().map(|file| (file.sync_ns, one, file.file.as_str())));
    }
    files.sort_by_key(|(ns, ..)| std::cmp::Reverse(*ns));
    let files: Vec<String> = files
        .iter()
        .take(FILES)
        .map(|(ns, one, file)| format!("{file} {}", tie(&format!("{} (begun at {})", duration(*ns), begun(one)))))
        .collect();
    if !files.is_empty() {
        page.wrapped(Style::Plain, &format!(" slowest syncs: {}", files.join(", ")), 2, 4);
    }
}

/// `-` for none.
fn phase(ns: u64) -> String {
    if ns == 0 { "-".into() } else { duration(ns) }
}

fn begun(one: &Checkpoint) -> String {
    match one.began_ns {
        before if before < 0 => format!("-{}", duration(before.unsigned_abs())),
        ns => duration(ns as u64),
    }
}

fn overlaid(overlay: &Overlay, page: &mut Page) {
    let (during, outside) = (&overlay.during, &overlay.outside);
    page.heading("STATEMENTS DURING CHECKPOINTS AND OUTSIDE");
    let mut table = Table::new()
        .name("", 0)
        .number("STATEMENTS", 0)
        .number("MEAN", 0)
        .number("P50", 2)
        .number("P99", 0)
        .number("MAX", 1);
    let phases = [("  writing", &overlay.write), ("  syncing", &overlay.sync), ("  finishing", &overlay.finish)];
    for (name, hist) in [("during", during)].into_iter().chain(phases).chain([("outside", outside)]) {
        let time = |ns| if hist.count == 0 { "-".into() } else { duration(ns) };
        table.row(vec![
            name.into(),
            count(hist.count),
            time(hist.mean as u64),
            time(hist.p50),
            time(hist.p99),
            time(hist.max),
        ]);
    }
    page.table(&table);
    if overlay.victims.is_empty() {
        return;
    }
    let mut table = Table::new()
        .number("LONGER BY", 0)
        .number("CALLS", 3)
        .number("MEAN", 1)
        .number("OUTSIDE", 2)
        .number("P99", 4)
        .number("OUTSIDE", 5)
        .main_text("STATEMENTS THAT TOOK LONGER");
    for victim in overlay.victims.iter().take(page.top.min(5)) {
        table.row(vec![
            duration(victim.excess_ns),
            count(victim.during.count),
            duration_f(victim.during.mean),
            duration_f(victim.outside.mean),
            duration(victim.during.p99),
            duration(victim.outside.p99),
            victim.query.clone(),
        ]);
    }
    page.table(&table);
}
