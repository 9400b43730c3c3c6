//! A trace of requests: a row each, and at the end how far it can be trusted.

use super::trust;
use crate::{
    page::{Block, Cell, Line, Page, Table},
    report::{
        model::Report,
        phrases::block::who,
        trace::{Begin, End, Request},
    },
    words::{count, duration},
};

/// What is traced, of which server.
pub fn begin(begin: &Begin) -> Line {
    let port = begin.port.map_or("no port known".into(), |port| format!("port {port}"));
    let of = if begin.all { "of all" } else { "of the cluster" };
    let device = begin.device.as_ref().map_or("all devices".into(), |device| format!("device {device}"));
    let least = if begin.min_ns == 0 { String::new() } else { format!(", {} and longer", duration(begin.min_ns)) };
    Line::text(format!(
        "PostgreSQL {}, {port}, {}; requests {of}, {device}{least}; seconds since {}",
        begin.server_version, begin.data_directory, begin.started_at
    ))
}

/// The columns of [`row`], of which the table never ends.
pub fn columns() -> Table {
    Table::default()
        .number("SECONDS", 0)
        .text("DEVICE", 0)
        .text("OPERATION", 0)
        .number("SECTOR", 0)
        .number("BYTES", 0)
        .number("QUEUED", 0)
        .number("IN DEVICE", 0)
        .name("WHO", 0)
}

/// One request.
pub fn row(request: &Request) -> Vec<Cell> {
    let has = |flag: &str| request.flags.iter().any(|known| known == flag);
    let mut operation = request.operation.to_string();
    for (flag, shown) in [("readahead", " ahead"), ("fua", " fua")] {
        if has(flag) {
            operation.push_str(shown);
        }
    }
    let mut who = who(&request.owner);
    if !request.owner.cluster && !["", "/"].contains(&request.owner.cgroup.as_str()) {
        who += &format!(" in {}", request.owner.cgroup);
    }
    if let Some(error) = &request.error {
        who += &format!("; FAILED: {error}");
    }
    let seconds = format!("{}.{:06}", request.completed_ns / 1_000_000_000, request.completed_ns / 1000 % 1_000_000);
    let time = |ns: Option<u64>| ns.map_or(Cell::Missing, Cell::Duration);
    vec![
        Cell::text(seconds),
        Cell::name(&request.device),
        Cell::name(operation),
        request.sector.map_or(Cell::Missing, Cell::Id),
        Cell::or_missing(request.bytes, Cell::Bytes),
        time(request.queue_ns),
        time(request.device_ns),
        Cell::name(who),
    ]
}

/// How much was traced, what was lost, and what it cost.
pub fn end(end: &End) -> Page {
    let report = Report { duration_ns: end.duration_ns, coverage: end.coverage.clone(), ..Report::default() };
    let mut page = trust(&report);
    let line = Line::text(format!("{} requests in {}", count(end.requests), duration(end.duration_ns)));
    page.sections[0].blocks.insert(0, Block::Line(line));
    page
}
