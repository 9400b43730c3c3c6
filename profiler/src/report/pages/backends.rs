//! Roles and backends.

use crate::{
    page::{Cell, Section, Table},
    report::model::{Backend, Report, sum},
    vocabulary::State,
};

pub(super) fn roles(report: &Report) -> Option<Section> {
    if report.roles.is_empty() {
        return None;
    }
    let mut table = Table::default()
        .name("ROLE", 0)
        .number("PROCESSES", 2)
        .number("STATEMENTS", 1)
        .number("P50", 5)
        .number("P99", 4)
        .number("TIME IN THEM", 3)
        .number("OUTSIDE", 6);
    for role in &report.roles {
        let of_statements = |ns| Cell::Duration(ns).when(role.statements > 0);
        table.row(vec![
            Cell::name(&role.role),
            Cell::Count(role.processes),
            Cell::Count(role.statements),
            of_statements(role.latency.p50),
            of_statements(role.latency.p99),
            of_statements(role.ledger.wall_ns),
            Cell::Duration(role.outside.wall_ns),
        ]);
    }
    let mut section = Section::new("ROLES");
    section.table(table);
    Some(section)
}

/// Those with most statement time first; those without statements by what they did otherwise: by their syncs, then by the
/// time on CPU.
pub(super) fn by_time(report: &Report) -> Vec<&Backend> {
    let cpu = |backend: &Backend| {
        sum(backend.outside.parts.iter().filter(|part| part.state == State::Cpu).map(|part| part.ns))
    };
    let mut all: Vec<&Backend> = report.backends.iter().collect();
    all.sort_by_key(|backend| std::cmp::Reverse((backend.ledger.wall_ns, backend.fsync.total_ns, cpu(backend))));
    all
}

pub(super) fn backends(report: &Report, top: usize) -> Option<Section> {
    if report.backends.is_empty() {
        return None;
    }
    let mut table = Table::default()
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
    for backend in by_time(report).into_iter().take(top) {
        let of_statements = |ns| Cell::Duration(ns).when(backend.statements > 0);
        table.row(vec![
            Cell::Id(backend.pid.into()),
            backend.namespace_pid.map_or(Cell::Blank, |pid| Cell::Id(pid.into())),
            Cell::name(role(backend)),
            Cell::name_or_blank(backend.user.as_ref()),
            Cell::name_or_blank(backend.database.as_ref()),
            Cell::name_or_blank(backend.application_name.as_ref()),
            Cell::Count(backend.statements),
            Cell::Count(backend.errors),
            of_statements(backend.ledger.wall_ns),
            of_statements(backend.latency.p50),
            of_statements(backend.latency.p99),
            of_statements(backend.latency.max),
            Cell::Count(backend.fsync.count),
            Cell::Duration(backend.fsync.total_ns).when(backend.fsync.count > 0),
        ]);
    }
    let mut section = Section::new("BACKENDS BY STATEMENT TIME");
    section.table(table);
    section.more(report.backends.len(), top, "backends");
    Some(section)
}

fn role(backend: &Backend) -> String {
    match (backend.leader, backend.alive) {
        (Some(leader), _) => format!("{} of {leader}", backend.role),
        (None, true) => backend.role.to_string(),
        (None, false) => format!("{} (ended)", backend.role),
    }
}
