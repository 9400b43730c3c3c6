//! Where the time of each role and each backend went, and of start-ups and idle transactions.

use super::{at_a_time, backends::by_time, percentiles, picture, plural, seconds};
use crate::{
    page::{Cell, Item, Line, Section, Table},
    report::{
        model::{Backend, Ledger, Report, Role},
        phrases::parts::listed,
    },
    words::{count, duration, rate},
};

/// Parts that are named.
const PARTS: usize = 4;
/// Connections from which on their start-ups are worth a picture.
const ENOUGH: u64 = 20;

/// The accounts of one process, or of a role: in statements and outside of them.
fn rows(report: &Report, table: &mut Table, who: Cell, ledgers: [&Ledger; 2]) {
    let mut who = who;
    for (what, ledger) in ["in statements", "outside"].into_iter().zip(ledgers) {
        if ledger.wall_ns > 0 {
            table.row(vec![
                std::mem::replace(&mut who, Cell::Blank),
                Cell::text(what),
                Cell::Duration(ledger.wall_ns),
                Cell::Rate(at_a_time(report, ledger.wall_ns)),
                Cell::text(listed(ledger, PARTS)),
            ]);
        }
    }
}

fn table(who: &'static str) -> Table {
    Table::default().name(who, 0).name("ACCOUNT", 1).number("TIME", 2).number("ACTIVE", 3).text("MOSTLY", 0)
}

fn section(heading: &str, table: Table) -> Option<Section> {
    if table.is_empty() {
        return None;
    }
    let mut section = Section::new(heading);
    section.table(table);
    Some(section)
}

pub(super) fn of_roles(report: &Report) -> Option<Section> {
    let mut table = table("ROLE");
    for role in &report.roles {
        rows(report, &mut table, Cell::name(&role.role), [&role.ledger, &role.outside]);
    }
    section("WHERE THE TIME OF EACH ROLE WENT", table)
}

pub(super) fn of_backends(report: &Report, top: usize) -> Option<Section> {
    let mut table = table("PID");
    for backend in by_time(report).into_iter().take(top) {
        rows(report, &mut table, Cell::Id(backend.pid.into()), [&backend.ledger, &backend.outside]);
    }
    section("WHERE THE TIME OF EACH BACKEND WENT", table)
}

pub(super) fn idle_in_transaction(report: &Report, top: usize) -> Option<Section> {
    let mut all: Vec<&Backend> = report.backends.iter().filter(|one| one.idle_in_transaction.count > 0).collect();
    if all.is_empty() {
        return None;
    }
    all.sort_by_key(|one| std::cmp::Reverse((one.idle_in_transaction.max_ns, one.idle_in_transaction.total_ns)));
    let mut section = Section::new("IDLE IN TRANSACTION");
    for role in report.roles.iter().filter(|role| role.idle_in_transaction.count > 0) {
        let idle = &role.idle_in_transaction;
        let text = format!(
            "{}: {} in {} pause{}, {} sessions on average, the longest {}",
            role.role,
            duration(idle.total_ns),
            count(idle.count),
            plural(idle.count),
            rate(at_a_time(report, idle.total_ns)),
            duration(idle.max_ns)
        );
        section.line(Line::text(text).indent(1).wrap(2, 3));
    }
    let mut table = Table::default()
        .number("PID", 0)
        .number("TIMES", 1)
        .number("TOTAL", 2)
        .number("LONGEST", 0)
        .name("USER", 3)
        .name("DATABASE", 4)
        .text("APPLICATION", 5);
    for backend in all.iter().take(top) {
        let idle = &backend.idle_in_transaction;
        table.row(vec![
            Cell::Id(backend.pid.into()),
            Cell::Count(idle.count),
            Cell::Duration(idle.total_ns),
            Cell::Duration(idle.max_ns),
            Cell::name_or_blank(backend.user.as_ref()),
            Cell::name_or_blank(backend.database.as_ref()),
            Cell::name_or_blank(backend.application_name.as_ref()),
        ]);
    }
    section.table(table);
    section.more(all.len(), top, "backends");
    Some(section)
}

pub(super) fn connections(report: &Report) -> impl Iterator<Item = Section> {
    report.roles.iter().filter(|role| role.startup.count > 0).map(|role| started(report, role))
}

/// The connections of one role that were started.
fn started(report: &Report, role: &Role) -> Section {
    let mut section = Section::new(format!("CONNECTIONS STARTED: {}", role.role));
    let hist = &role.startup;
    let text = format!(
        "{} started, {} per second; from fork to ready: mean {}",
        count(hist.count),
        rate(hist.count as f64 / seconds(report)),
        Cell::mean(hist.mean)
    );
    let items = std::iter::once(Item::text(text)).chain(percentiles(hist)).collect();
    section.line(Line::new(items).indent(1).wrap(2, 4));
    if role.startup_ledger.wall_ns > 0 {
        let parts = listed(&role.startup_ledger, PARTS + 2);
        section.line(Line::text(parts).indent(1).label("of it").wrap(7, 3));
    }
    let started = report.backends.iter().filter(|one| one.role == role.role);
    if let Some((ns, slowest)) = started.filter_map(|one| Some((one.startup_ns?, one))).max_by_key(|one| one.0) {
        let parts = listed(&slowest.startup, PARTS);
        let parts = if parts.is_empty() { parts } else { format!(": {parts}") };
        let text = format!("pid {}, {}{parts}", slowest.pid, duration(ns));
        section.line(Line::text(text).indent(1).label("slowest:").wrap(2, 3));
    }
    if hist.count >= ENOUGH {
        section.blocks.push(picture::of(hist));
    }
    section
}
