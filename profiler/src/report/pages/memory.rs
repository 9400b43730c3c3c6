//! Memory that backends had to free: who, for which statements, and the limit that made them.

use super::plural;
use crate::{
    page::{Cell, Line, Section, Table},
    report::{
        model::{Memory, Report, sum},
        phrases::memory::limits,
    },
    words::{bytes, count, duration, short},
};

pub(super) fn section(report: &Report, top: usize) -> Option<Section> {
    let memory = &report.memory;
    let n = sum([memory.host.count, memory.cgroup.count]);
    let met = memory.limits.as_ref().filter(|limits| sum([limits.limit_hits, limits.high_hits, limits.oom_kills]) > 0);
    if n == 0 && met.is_none() {
        return None;
    }
    let mut section = Section::new(format!(
        "MEMORY: backends reclaimed {} themselves, in {} direct reclaim{}, {} in total",
        bytes(sum([memory.host.freed_bytes, memory.cgroup.freed_bytes])),
        count(n),
        plural(n),
        duration(memory.total_ns())
    ));
    if n > 0 {
        by_statement(memory, top, &mut section);
    }
    // Direct reclaim of the host has nothing to do with the cgroup's limit.
    let cgroup = memory.limits.as_ref().filter(|_| met.is_some() || memory.cgroup.count > 0);
    if let Some(cgroup) = cgroup {
        section.line(Line::text(limits(cgroup)).indent(1).label("the limit:").wrap(3, 4));
    }
    Some(section)
}

fn by_statement(memory: &Memory, top: usize, section: &mut Section) {
    let mut table = Table::default()
        .name("FOR", 1)
        .number("TIMES", 0)
        .number("TOTAL", 0)
        .number("ON CPU", 3)
        .number("MAX", 2)
        .number("FREED", 0)
        .number("BACKENDS", 5)
        .name("ROLE", 4)
        .main_text("STATEMENT");
    let each = memory.by.iter().flat_map(|by| [("cgroup", by, &by.cgroup), ("host", by, &by.host)]);
    let mut rows: Vec<_> = each.filter(|(.., one)| one.count > 0).collect();
    rows.sort_by_key(|(.., one)| std::cmp::Reverse(one.total_ns));
    for (kind, by, one) in rows.iter().take(top) {
        table.row(vec![
            Cell::text(*kind),
            Cell::Count(one.count),
            Cell::Duration(one.total_ns),
            Cell::Share(one.cpu_ns as f64 / one.total_ns.max(1) as f64),
            Cell::Duration(one.max_ns),
            Cell::Bytes(one.freed_bytes),
            Cell::Count(by.pids.len() as u64),
            Cell::name(&by.role),
            by.query.as_deref().map_or_else(|| Cell::text("(outside statements)"), |text| Cell::code(short(text))),
        ]);
    }
    section.table(table);
    section.more(rows.len(), top, "roles and classes");
}
