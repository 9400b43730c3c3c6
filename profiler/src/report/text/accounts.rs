//! Where the time of each role and each backend went, and of start-ups and idle transactions.

use super::format::{count, duration, duration_f, rate};
use super::parts::listed;
use super::summary::percentiles;
use super::table::Table;
use super::{Page, Style, histogram};
use crate::report::model::{Backend, Ledger, Report};

/// Parts that are named.
const PARTS: usize = 4;

/// The accounts of one process, or of a role: in statements and outside of them.
fn rows(report: &Report, table: &mut Table, who: &str, ledgers: [&Ledger; 2]) {
    let mut who = who.to_owned();
    for (what, ledger) in ["in statements", "outside"].into_iter().zip(ledgers) {
        if ledger.wall_ns > 0 {
            let active = ledger.wall_ns as f64 / report.duration_ns.max(1) as f64;
            table.row(vec![
                std::mem::take(&mut who),
                what.into(),
                duration(ledger.wall_ns),
                rate(active),
                listed(ledger, PARTS),
            ]);
        }
    }
}

fn table(who: &'static str) -> Table {
    Table::new().name(who, 0).name("ACCOUNT", 1).number("TIME", 2).number("ACTIVE", 3).text("MOSTLY", 0)
}

pub(super) fn of_roles(report: &Report, page: &mut Page) {
    let mut table = table("ROLE");
    for role in &report.roles {
        rows(report, &mut table, &role.role, [&role.ledger, &role.outside]);
    }
    if !table.is_empty() {
        page.heading("WHERE THE TIME OF EACH ROLE WENT");
        page.table(&table);
    }
}

pub(super) fn of_backends(report: &Report, all: &[&Backend], page: &mut Page) {
    let mut table = table("PID");
    for backend in all.iter().take(page.top) {
        rows(report, &mut table, &backend.pid.to_string(), [&backend.ledger, &backend.outside]);
    }
    if !table.is_empty() {
        page.heading("WHERE THE TIME OF EACH BACKEND WENT");
        page.table(&table);
    }
}

pub(super) fn idle_in_transaction(report: &Report, page: &mut Page) {
    let mut all: Vec<&Backend> = report.backends.iter().filter(|one| one.idle_in_transaction.count > 0).collect();
    if all.is_empty() {
        return;
    }
    all.sort_by_key(|one| std::cmp::Reverse((one.idle_in_transaction.max_ns, one.idle_in_transaction.total_ns)));
    page.heading("IDLE IN TRANSACTION");
    for role in report.roles.iter().filter(|role| role.idle_in_transaction.count > 0) {
        let idle = &role.idle_in_transaction;
        let text = format!(
            " {}: {} in {} pause{}, {} on average at a time, the longest {}",
            role.role,
            duration(idle.total_ns),
            count(idle.count),
            if idle.count == 1 { "" } else { "s" },
            rate(idle.total_ns as f64 / report.duration_ns.max(1) as f64),
            duration(idle.max_ns)
        );
        page.wrapped(Style::Plain, &text, 2, 3);
    }
    let mut table = Table::new()
        .number("PID", 0)
        .number("TIMES", 1)
        .number("TOTAL", 2)
        .number("LONGEST", 0)
        .name("USER", 3)
        .name("DATABASE", 4)
        .text("APPLICATION", 5);
    for backend in all.iter().take(page.top) {
        let idle = &backend.idle_in_transaction;
        table.row(vec![
            backend.pid.to_string(),
            count(idle.count),
            duration(idle.total_ns),
            duration(idle.max_ns),
            backend.user.clone().unwrap_or_default(),
            backend.database.clone().unwrap_or_default(),
            backend.application_name.clone().unwrap_or_default(),
        ]);
    }
    page.table(&table);
    page.more(all.len().saturating_sub(page.top), "backends");
}

pub(super) fn connections(report: &Report, page: &mut Page) {
    let started = report.roles.iter().filter(|role| role.startup.count > 0);
    for role in started {
        page.heading(&format!("CONNECTIONS STARTED: {}", role.role));
        let hist = &role.startup;
        let seconds = report.duration_ns.max(1) as f64 / 1e9;
        let text = format!(
            " {} started, {} a second, fork to ready: mean {}  {}",
            count(hist.count),
            rate(hist.count as f64 / seconds),
            duration_f(hist.mean),
            percentiles(hist)
        );
        page.wrapped(Style::Plain, &text, 2, 4);
        if role.startup_ledger.wall_ns > 0 {
            let parts = listed(&role.startup_ledger, PARTS + 2);
            page.wrapped(Style::Plain, &format!(" of it {parts}"), 7, 3);
        }
        let started = report.backends.iter().filter(|one| one.role == role.role);
        if let Some((ns, slowest)) = started.filter_map(|one| Some((one.startup_ns?, one))).max_by_key(|one| one.0) {
            let parts = listed(&slowest.startup, PARTS);
            let parts = if parts.is_empty() { parts } else { format!(": {parts}") };
            page.wrapped(Style::Plain, &format!(" slowest: pid {}, {}{parts}", slowest.pid, duration(ns)), 2, 3);
        }
        if hist.count >= 20 {
            histogram::picture(hist, page);
        }
    }
}
