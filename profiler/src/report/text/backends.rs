//! Roles and backends.

use super::Page;
use super::format::{count, duration};
use super::table::Table;
use crate::report::model::{Backend, Report};

pub(super) fn roles(report: &Report, page: &mut Page) {
    if report.roles.is_empty() {
        return;
    }
    page.heading("ROLES");
    let mut table = Table::new()
        .name("ROLE", 0)
        .number("PROCESSES", 2)
        .number("STATEMENTS", 1)
        .number("P50", 5)
        .number("P99", 4)
        .number("TIME IN THEM", 3)
        .number("OUTSIDE", 6);
    for role in &report.roles {
        let some = |text: String| if role.statements == 0 { "-".into() } else { text };
        table.row(vec![
            role.role.clone(),
            count(role.processes),
            count(role.statements),
            some(duration(role.latency.p50)),
            some(duration(role.latency.p99)),
            some(duration(role.ledger.wall_ns)),
            duration(role.outside.wall_ns),
        ]);
    }
    page.table(&table);
    super::accounts::of_roles(report, page);
}

pub(super) fn backends(report: &Report, page: &mut Page) {
    if report.backends.is_empty() {
        return;
    }
    page.heading("BACKENDS BY STATEMENT TIME");
    let mut table = Table::new()
        .number("PID", 0)
        .number("INSIDE", 12)
        .text("ROLE", 1)
        .text("USER", 8)
        .text("DATABASE", 9)
        .text("APPLICATION", 10)
        .number("STATEMENTS", 2)
        .number("ERRORS", 7)
        .number("TIME", 0)
        .number("P50", 6)
        .number("P99", 3)
        .number("MAX", 5)
        .number("SYNCS", 4)
        .number("SYNC TIME", 11);
    // Those without statements by what they did otherwise: by their syncs, then by the time on CPU.
    let cpu = |backend: &Backend| {
        backend.outside.parts.iter().filter(|part| part.state == "cpu").map(|part| part.ns).sum::<u64>()
    };
    let mut all: Vec<&Backend> = report.backends.iter().collect();
    all.sort_by_key(|backend| std::cmp::Reverse((backend.ledger.wall_ns, backend.fsync.total_ns, cpu(backend))));
    for backend in all.iter().take(page.top) {
        let some = |text: String| if backend.statements == 0 { "-".into() } else { text };
        let role = match (backend.leader, backend.alive) {
            (Some(leader), _) => format!("{} of {leader}", backend.role),
            (None, true) => backend.role.clone(),
            (None, false) => format!("{} (ended)", backend.role),
        };
        table.row(vec![
            backend.pid.to_string(),
            backend.namespace_pid.map(|pid| pid.to_string()).unwrap_or_default(),
            role,
            backend.user.clone().unwrap_or_default(),
            backend.database.clone().unwrap_or_default(),
            backend.application_name.clone().unwrap_or_default(),
            count(backend.statements),
            count(backend.errors),
            some(duration(backend.ledger.wall_ns)),
            some(duration(backend.latency.p50)),
            some(duration(backend.latency.p99)),
            some(duration(backend.latency.max)),
            count(backend.fsync.count),
            if backend.fsync.count == 0 { "-".into() } else { duration(backend.fsync.total_ns) },
        ]);
    }
    page.table(&table);
    page.more(all.len().saturating_sub(page.top), "backends");
    super::accounts::of_backends(report, &all, page);
}
