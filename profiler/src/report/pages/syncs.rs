//! Who syncs what: by role and kind of file, and file by file.

use crate::{
    hist::Histogram,
    page::{Cell, Line, Section, Table, Tone},
    report::model::{FsyncBy, Hist, Report, sum},
    vocabulary::{FileKind, Role, Word},
    words::count,
};

/// All syncs of one role on one kind of file.
struct SyncGroup {
    role: Word<Role>,
    kind: Word<FileKind>,
    count: u64,
    errors: u64,
    total_ns: u64,
    latency: Hist,
}

fn total_ns(hist: &Hist) -> u64 {
    (hist.mean * hist.count as f64) as u64
}

impl SyncGroup {
    /// The groups, most time first. A histogram that cannot be read adds its count, maximum and total, not its
    /// percentiles.
    fn by_role_and_kind(by: &[FsyncBy]) -> Vec<SyncGroup> {
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
            group.count = sum([group.count, one.count]);
            group.errors = sum([group.errors, one.errors]);
            group.total_ns = sum([group.total_ns, total_ns(&one.latency)]);
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

pub(super) fn by_role(report: &Report) -> Option<Section> {
    if report.fsync.by.is_empty() {
        return None;
    }
    let groups = SyncGroup::by_role_and_kind(&report.fsync.by);
    let mut table = Table::default()
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
        table.row(vec![
            Cell::name(&group.role),
            Cell::name(&group.kind),
            Cell::Count(group.count),
            Cell::Duration(group.total_ns),
            Cell::Duration(group.latency.p50),
            Cell::Duration(group.latency.p99),
            Cell::Duration(group.latency.max),
            if any_failed { Cell::Count(group.errors) } else { Cell::Blank },
        ]);
    }
    let mut section = Section::new("SYNCS BY ROLE");
    section.table(table);
    let left = groups.len().saturating_sub(ROWS);
    if left > 0 {
        let rest = sum(groups.iter().skip(ROWS).map(|group| group.count));
        let text = format!("… and {} syncs of {} more roles and kinds", count(rest), count(left as u64));
        section.line(Line::text(text).indent(1).tone(Tone::Faint));
    }
    Some(section)
}

pub(super) fn files(report: &Report, top: usize) -> Option<Section> {
    let fsync = &report.fsync;
    if fsync.by.is_empty() {
        return None;
    }
    let mut table = Table::default()
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
    for one in all.iter().take(top) {
        table.row(vec![
            Cell::Id(one.pid.into()),
            Cell::name(&one.role),
            Cell::name(&one.syscall),
            Cell::name(&one.file_kind),
            Cell::name(&one.file),
            Cell::name_or_blank(one.relation.as_ref()),
            Cell::Count(one.count),
            Cell::Count(one.errors),
            Cell::Duration(one.latency.p50),
            Cell::Duration(one.latency.p99),
            Cell::Duration(one.latency.max),
        ]);
    }
    let heading = format!("SYNCS BY FILE: {} in all, {} failed", count(fsync.latency.count), count(fsync.errors));
    let mut section = Section::new(heading);
    section.table(table);
    section.more(all.len(), top, "files");
    Some(section)
}
