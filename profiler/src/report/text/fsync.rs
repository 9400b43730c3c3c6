//! Who syncs what: by role and kind of file, and file by file.

use super::format::{count, duration};
use super::table::Table;
use super::{Page, Style};
use crate::hist::Histogram;
use crate::report::model::{FsyncBy, Hist, Report};

/// All syncs of one role on one kind of file.
pub(super) struct SyncGroup {
    pub role: String,
    pub kind: String,
    pub count: u64,
    pub errors: u64,
    pub total_ns: u64,
    pub latency: Hist,
}

fn total_ns(hist: &Hist) -> u64 {
    (hist.mean * hist.count as f64) as u64
}

impl SyncGroup {
    /// The groups, most time first. A histogram that cannot be read adds its count, maximum and total, not its
    /// percentiles.
    pub fn by_role_and_kind(by: &[FsyncBy]) -> Vec<SyncGroup> {
        let mut groups: Vec<(SyncGroup, Histogram)> = Vec::new();
        for one in by {
            let at =
                groups.iter().position(|(g, _)| g.role == one.role && g.kind == one.file_kind).unwrap_or_else(|| {
                    let group = SyncGroup {
                        role: one.role.clone(),
                        kind: one.file_kind.clone(),
                        count: 0,
                        errors: 0,
                        total_ns: 0,
                        latency: Hist::default(),
                    };
                    groups.push((group, Histogram::new()));
                    groups.len() - 1
                });
            let (group, merged) = &mut groups[at];
            group.count += one.count;
            group.errors += one.errors;
            group.total_ns += total_ns(&one.latency);
            group.latency.max = group.latency.max.max(one.latency.max);
            if let Ok(hist) = Histogram::from_hist(&one.latency) {
                merged.merge(&hist);
            }
        }
        let mut groups: Vec<SyncGroup> = groups
            .into_iter()
            .map(|(mut group, merged)| {
                let max = group.latency.max;
                group.latency = Hist { max, ..merged.summary() };
                group
            })
            .collect();
        groups.sort_by_key(|group| std::cmp::Reverse((group.total_ns, group.count)));
        groups
    }
}

/// Roles and kinds that are shown.
const ROWS: usize = 8;

pub(super) fn by_role(report: &Report, page: &mut Page) {
    if report.fsync.by.is_empty() {
        return;
    }
    let groups = SyncGroup::by_role_and_kind(&report.fsync.by);
    page.heading("SYNCS BY ROLE");
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
    for group in groups.iter().take(ROWS) {
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
    let left = groups.len().saturating_sub(ROWS);
    if left > 0 {
        let rest: u64 = groups.iter().skip(ROWS).map(|group| group.count).sum();
        page.styled(
            Style::Dim,
            &format!(" … and {} syncs of {} more roles and kinds", count(rest), count(left as u64)),
        );
    }
}

pub(super) fn files(report: &Report, page: &mut Page) {
    let fsync = &report.fsync;
    if fsync.by.is_empty() {
        return;
    }
    page.heading(&format!("SYNCS BY FILE: {} in all, {} failed", count(fsync.latency.count), count(fsync.errors)));
    let mut table = Table::new()
        .number("PID", 5)
        .name("ROLE", 1)
        .name("SYSCALL", 6)
        .name("KIND", 7)
        .path("FILE", 0)
        .main_text("RELATION")
        .number("COUNT", 0)
        .number("FAILED", 0)
        .number("P50", 4)
        .number("P99", 2)
        .number("MAX", 3);
    let mut all: Vec<&FsyncBy> = fsync.by.iter().collect();
    all.sort_by_key(|one| std::cmp::Reverse((total_ns(&one.latency), one.count)));
    for one in all.iter().take(page.top) {
        table.row(vec![
            one.pid.to_string(),
            one.role.clone(),
            one.syscall.clone(),
            one.file_kind.clone(),
            one.file.clone(),
            one.relation.clone().unwrap_or_default(),
            count(one.count),
            count(one.errors),
            duration(one.latency.p50),
            duration(one.latency.p99),
            duration(one.latency.max),
        ]);
    }
    page.table(&table);
    page.more(all.len().saturating_sub(page.top), "files");
}
