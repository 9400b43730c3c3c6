//! The report as a page: what stands on the first screen, and the sections behind it, one file a topic.
//!
//! The first screen is the answer: how much ran and how fast, where its time went, what the rules found and what to do
//! about it, what is stuck, which statements it was, and what the profile lost and cost. The tables behind it follow: the
//! evidence, what makes slow statements slow, who was waited for, and the account of every class, role and backend.

mod accounts;
mod aio;
mod backends;
mod block;
mod coverage;
mod faults;
mod files;
mod locks;
mod memory;
mod picture;
mod servers;
mod slow;
mod statements;
mod summary;
mod syncs;
pub mod trace;
mod wal;
mod writeback;

use super::model::{Hist, Report, sum};
use crate::page::{Cell, Item, Page};
pub use servers::{ranked, servers};

/// The page of a report; its long tables have `top` rows, at least one.
pub fn report(report: &Report, top: usize) -> Page {
    let top = top.max(1);
    let mut sections = Vec::new();
    sections.extend(summary::sections(report));
    sections.extend(coverage::findings(report));
    sections.extend(slow::tail(report));
    sections.extend(slow::slowest(report, top));
    sections.extend(locks::section(report, top));
    sections.extend(statements::classes(report, top));
    sections.extend(statements::unfinished(report, top));
    sections.extend(statements::latency(report));
    sections.extend(backends::roles(report));
    sections.extend(accounts::of_roles(report));
    sections.extend(backends::backends(report, top));
    sections.extend(accounts::of_backends(report, top));
    sections.extend(accounts::idle_in_transaction(report, top));
    sections.extend(accounts::connections(report));
    sections.extend(syncs::by_role(report));
    sections.extend(syncs::files(report, top));
    sections.extend(memory::section(report, top));
    sections.extend(faults::section(report, top));
    sections.extend(files::sections(report, top));
    sections.extend(aio::section(report, top));
    sections.extend(wal::sections(report, top));
    sections.extend(writeback::sections(&report.storage.writeback, top));
    sections.extend(block::sections(&report.storage.block, report.duration_ns, top));
    sections.extend(coverage::probes(report));
    sections.push(coverage::losses(report));
    Page { sections }
}

/// How far what was seen can be trusted, and what it cost.
pub fn trust(report: &Report) -> Page {
    let mut section = summary::trust(report);
    coverage::notes(report, &mut section);
    Page { sections: vec![section] }
}

/// All percentiles, side by side.
fn percentiles(hist: &Hist) -> impl Iterator<Item = Item> {
    let all = [
        ("p50", hist.p50),
        ("p90", hist.p90),
        ("p95", hist.p95),
        ("p99", hist.p99),
        ("p99.9", hist.p999),
        ("max", hist.max),
    ];
    all.into_iter().map(|(name, ns)| Item::new(name, Cell::Duration(ns)))
}

/// `s` for all numbers but one.
fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Seconds of the profile.
fn seconds(report: &Report) -> f64 {
    report.duration_ns.max(1) as f64 / 1e9
}

/// How many did so at a time, on average over the profile.
fn at_a_time(report: &Report, ns: u64) -> f64 {
    ns as f64 / report.duration_ns.max(1) as f64
}

/// Sessions with a statement at a time, on average: those of statements that are still open included.
fn active(report: &Report) -> f64 {
    let open = report.unfinished.iter().map(|open| open.elapsed_ns);
    at_a_time(report, sum(open.chain([report.statements.ledger.wall_ns])))
}

/// `app in shop`, or the one that is known.
fn whose(user: Option<&String>, database: Option<&String>) -> Option<Item> {
    match (user, database) {
        (Some(user), Some(database)) => Some(Item::text(format!("{user} in {database}"))),
        (Some(one), None) | (None, Some(one)) => Some(Item::text(one)),
        (None, None) => None,
    }
}
