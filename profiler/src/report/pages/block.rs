//! The block layer: requests by device, cgroup and role, and who delays whom.

use crate::{
    page::{Cell, Line, Section, Table},
    report::{
        model::{Block, BlockDevice, BlockNoise, BlockRequests, Hist, sum},
        phrases::block::who,
    },
    words::{duration, percent},
};

pub(super) fn sections(block: &Block, duration_ns: u64, top: usize) -> Vec<Section> {
    if block.devices.is_empty() {
        return Vec::new();
    }
    let mut out = vec![devices(block, duration_ns, top), owners(block, top)];
    out.extend(noise(block, top));
    out
}

/// The kinds of requests a device had.
fn kinds(device: &BlockDevice) -> impl Iterator<Item = (&'static str, &BlockRequests)> {
    let all = [
        ("read", &device.read),
        ("write", &device.write),
        ("flush", &device.flush),
        ("sync", &device.sync),
        ("discard", &device.discard),
        ("other", &device.other),
    ];
    all.into_iter().filter(|(_, requests)| sum([requests.requests, requests.merged, requests.requeued]) > 0)
}

/// A percentile, nothing where there was nothing.
fn at(hist: &Hist, ns: u64) -> Cell {
    Cell::Duration(ns).when(hist.count > 0)
}

fn devices(block: &Block, duration_ns: u64, top: usize) -> Section {
    let mut table = Table::default()
        .name("DEVICE", 0)
        .name("SCHEDULER", 6)
        .number("BUSY", 4)
        .name("WHAT", 0)
        .number("REQUESTS", 0)
        .number("BYTES", 3)
        .number("MERGED", 8)
        .number("Q.P50", 7)
        .number("Q.P99", 2)
        .number("P50", 0)
        .number("P99", 0)
        .number("MAX", 5)
        .number("REQUEUED", 9)
        .number("FAILED", 1);
    for device in block.devices.iter().take(top) {
        let busy = device.busy_ns.map(|ns| Cell::Share((ns as f64 / duration_ns.max(1) as f64).min(1.0)));
        let mut names = [Cell::name(&device.device), Cell::name(&device.scheduler), busy.unwrap_or(Cell::Blank)];
        for (kind, requests) in kinds(device) {
            // The device is named once.
            let named = std::mem::replace(&mut names, [Cell::Blank, Cell::Blank, Cell::Blank]);
            table.row(named.into_iter().chain(cells(kind, requests)).collect());
        }
    }
    let mut section = Section::new("BLOCK DEVICES: TIME IN THE QUEUE AND IN THE DEVICE");
    section.table(table);
    section.more(block.devices.len(), top, "devices");
    section
}

/// Of one kind of requests.
fn cells(kind: &str, requests: &BlockRequests) -> [Cell; 11] {
    let (queue, device) = (&requests.queue_time, &requests.device_time);
    [
        Cell::text(kind),
        Cell::Count(requests.requests),
        Cell::or_missing(requests.bytes, Cell::Bytes),
        Cell::or_missing(requests.merged, Cell::Count),
        at(queue, queue.p50),
        at(queue, queue.p99),
        at(device, device.p50),
        at(device, device.p99),
        at(device, device.max),
        Cell::or_missing(requests.requeued, Cell::Count),
        Cell::or_missing(requests.failed, Cell::Count),
    ]
}

fn owners(block: &Block, top: usize) -> Section {
    let mut table = Table::default()
        .name("DEVICE", 2)
        .name("WHO", 0)
        .name("WHAT", 0)
        .number("REQUESTS", 0)
        .number("BYTES", 1)
        .number("Q.P99", 5)
        .number("P50", 4)
        .number("P99", 3)
        .path("CGROUP", 6);
    for row in block.by.iter().take(top) {
        let (queue, device) = (&row.requests.queue_time, &row.requests.device_time);
        table.row(vec![
            Cell::name(&row.device),
            Cell::name(who(&row.owner)),
            Cell::name(&row.operation),
            Cell::Count(row.requests.requests),
            Cell::or_missing(row.requests.bytes, Cell::Bytes),
            at(queue, queue.p99),
            at(device, device.p50),
            at(device, device.p99),
            Cell::name(&row.owner.cgroup),
        ]);
    }
    let mut section = Section::new("BLOCK REQUESTS BY OWNER");
    section.table(table);
    section.more(block.by.len(), top, "rows");
    section
}

fn total_ns(noise: &BlockNoise) -> u64 {
    (noise.delay.mean * noise.delay.count as f64) as u64
}

fn noise(block: &Block, top: usize) -> Option<Section> {
    if block.noise.is_empty() {
        return None;
    }
    let mut section = Section::new("WHOSE REQUESTS DELAYED THE CLUSTER'S");
    for device in block.devices.iter().filter(|device| device.waited_others_ns > 0).take(top) {
        let all = sum([device.waited_own_ns, device.waited_others_ns]);
        let text = format!(
            "the cluster's requests waited {}, {} of it ({}) behind requests of others",
            duration(all),
            duration(device.waited_others_ns),
            percent(device.waited_others_ns as f64 / all.max(1) as f64)
        );
        section.line(Line::text(text).indent(1).label(format!("{}:", device.device)));
    }
    let mut table = Table::default()
        .name("DEVICE", 2)
        .name("WHO", 0)
        .number("DELAY", 0)
        .number("TIMES", 1)
        .number("P50", 4)
        .number("P99", 3)
        .number("REQUESTS", 6)
        .number("BYTES", 5)
        .path("CGROUP", 0);
    for row in block.noise.iter().take(top) {
        table.row(vec![
            Cell::name(&row.device),
            Cell::name(who(&row.owner)),
            Cell::Duration(total_ns(row)),
            Cell::Count(row.delay.count),
            Cell::Duration(row.delay.p50),
            Cell::Duration(row.delay.p99),
            Cell::Count(row.requests),
            Cell::Bytes(row.bytes),
            Cell::name(&row.owner.cgroup),
        ]);
    }
    section.table(table);
    section.more(block.noise.len(), top, "others");
    Some(section)
}
