//! Memory that backends had to free: who, for which statements, and the limit that made them.

use crate::report::{
    model::{Memory, MemoryCgroup, Report},
    text::{
        Page, Style,
        format::{bytes, count, duration, percent, short},
        table::Table,
    },
};

pub(super) fn render(report: &Report, page: &mut Page) {
    let memory = &report.memory;
    let n = memory.host.count + memory.cgroup.count;
    let met = memory.limits.as_ref().filter(|limits| limits.limit_hits + limits.high_hits + limits.oom_kills > 0);
    if n == 0 && met.is_none() {
        return;
    }
    let freed = memory.host.freed_bytes + memory.cgroup.freed_bytes;
    page.heading(&format!(
        "MEMORY: backends freed {} of it themselves before they got some, {} times, {} in all",
        bytes(freed),
        count(n),
        duration(memory.total_ns())
    ));
    if n > 0 {
        by_statement(memory, page);
    }
    // Direct reclaim of the host has nothing to do with the cgroup's limit.
    let cgroup = memory.limits.as_ref().filter(|_| met.is_some() || memory.cgroup.count > 0);
    if let Some(cgroup) = cgroup {
        page.wrapped(Style::Plain, &format!(" the limit: {}", limits(cgroup)), 3, 4);
    }
}

fn by_statement(memory: &Memory, page: &mut Page) {
    let mut table = Table::new()
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
    for (kind, by, one) in rows.iter().take(page.top) {
        table.row(vec![
            (*kind).into(),
            count(one.count),
            duration(one.total_ns),
            percent(one.cpu_ns as f64 / one.total_ns.max(1) as f64),
            duration(one.max_ns),
            bytes(one.freed_bytes),
            count(by.pids.len() as u64),
            by.role.clone(),
            by.query.as_deref().map_or("(outside statements)".into(), short),
        ]);
    }
    page.table(&table);
    page.more(rows.len().saturating_sub(page.top), "roles and classes");
}

/// `/db (256 MiB), 255 MiB in use (12 MiB anonymous, 20 MiB shared, 220 MiB page cache), met 1,200 times`
pub(crate) fn limits(cgroup: &MemoryCgroup) -> String {
    let limit = |what: &str, n: Option<u64>| n.map(|n| format!("{what} {}", bytes(n)));
    let (max, high) = if cgroup.version == 1 { ("limit_in_bytes", "") } else { ("max", "high") };
    let set: Vec<String> =
        [limit(max, cgroup.limit_bytes), limit(high, cgroup.high_bytes)].into_iter().flatten().collect();
    let mut out = format!(
        "memory.{} of {}; {} in use ({} anonymous, {} shared, {} page cache)",
        set.join(", memory."),
        cgroup.name,
        bytes(cgroup.usage_bytes),
        bytes(cgroup.anon_bytes),
        bytes(cgroup.shmem_bytes),
        bytes(cgroup.file_bytes)
    );
    for (n, what) in [
        (cgroup.limit_hits, "met"),
        (cgroup.high_hits, "above memory.high"),
        (cgroup.oom_kills, "a process killed for it"),
    ] {
        if n > 0 {
            out += &format!(", {what} {} time{}", count(n), if n == 1 { "" } else { "s" });
        }
    }
    out
}
