//! Tables of the block layer: requests by device, cgroup and role, and who delays whom.

use crate::report::{
    model::{Block, BlockDevice, BlockNoise, BlockOwner, BlockRequests, Hist},
    text::{
        Page,
        format::{bytes, count, duration, percent},
        table::Table,
    },
};

pub(super) fn render(block: &Block, duration_ns: u64, page: &mut Page) {
    if block.devices.is_empty() {
        return;
    }
    devices(block, duration_ns, page);
    owners(block, page);
    noise(block, page);
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
    all.into_iter().filter(|(_, requests)| requests.requests + requests.merged + requests.requeued > 0)
}

/// A percentile, nothing where there was nothing.
fn at(hist: &Hist, value: u64) -> String {
    if hist.count == 0 { "-".into() } else { duration(value) }
}

fn some(n: u64) -> String {
    if n == 0 { "-".into() } else { count(n) }
}

fn devices(block: &Block, duration_ns: u64, page: &mut Page) {
    page.heading("BLOCK DEVICES: TIME IN THE QUEUE AND IN THE DEVICE");
    let mut table = Table::new()
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
    for device in block.devices.iter().take(page.top) {
        for (at_row, (kind, requests)) in kinds(device).enumerate() {
            let first = |text: String| if at_row == 0 { text } else { String::new() };
            let busy = device.busy_ns.map(|ns| percent((ns as f64 / duration_ns.max(1) as f64).min(1.0)));
            table.row(vec![
                first(device.device.clone()),
                first(device.scheduler.clone()),
                first(busy.unwrap_or_default()),
                kind.into(),
                count(requests.requests),
                if requests.bytes == 0 { "-".into() } else { bytes(requests.bytes) },
                some(requests.merged),
                at(&requests.queue_time, requests.queue_time.p50),
                at(&requests.queue_time, requests.queue_time.p99),
                at(&requests.device_time, requests.device_time.p50),
                at(&requests.device_time, requests.device_time.p99),
                at(&requests.device_time, requests.device_time.max),
                some(requests.requeued),
                some(requests.failed),
            ]);
        }
    }
    page.table(&table);
    page.more(block.devices.len().saturating_sub(page.top), "devices");
}

/// `checkpointer`, `fio (pid 12)`, `kworker`.
pub fn who(owner: &BlockOwner) -> String {
    match owner.pid {
        Some(pid) => format!("{} (pid {pid})", owner.name),
        None => owner.name.clone(),
    }
}

fn owners(block: &Block, page: &mut Page) {
    page.heading("WHO USES THEM");
    let mut table = Table::new()
        .name("DEVICE", 2)
        .name("WHO", 0)
        .name("WHAT", 0)
        .number("REQUESTS", 0)
        .number("BYTES", 1)
        .number("Q.P99", 5)
        .number("P50", 4)
        .number("P99", 3)
        .path("CGROUP", 6);
    for row in block.by.iter().take(page.top) {
        table.row(vec![
            row.device.clone(),
            who(&row.owner),
            row.operation.clone(),
            count(row.requests.requests),
            if row.requests.bytes == 0 { "-".into() } else { bytes(row.requests.bytes) },
            at(&row.requests.queue_time, row.requests.queue_time.p99),
            at(&row.requests.device_time, row.requests.device_time.p50),
            at(&row.requests.device_time, row.requests.device_time.p99),
            row.owner.cgroup.clone(),
        ]);
    }
    page.table(&table);
    page.more(block.by.len().saturating_sub(page.top), "rows");
}

fn total_ns(noise: &BlockNoise) -> u64 {
    (noise.delay.mean * noise.delay.count as f64) as u64
}

fn noise(block: &Block, page: &mut Page) {
    if block.noise.is_empty() {
        return;
    }
    page.heading("WHOSE REQUESTS KEPT THE CLUSTER'S WAITING");
    for device in block.devices.iter().filter(|device| device.waited_others_ns > 0).take(page.top) {
        let all = device.waited_own_ns + device.waited_others_ns;
        page.line(&format!(
            " {}: requests of the cluster waited {}, {} of it ({}) for others",
            device.device,
            duration(all),
            duration(device.waited_others_ns),
            percent(device.waited_others_ns as f64 / all.max(1) as f64)
        ));
    }
    let mut table = Table::new()
        .name("DEVICE", 2)
        .name("WHO", 0)
        .number("DELAY", 0)
        .number("TIMES", 1)
        .number("P50", 4)
        .number("P99", 3)
        .number("REQUESTS", 6)
        .number("BYTES", 5)
        .path("CGROUP", 0);
    for row in block.noise.iter().take(page.top) {
        table.row(vec![
            row.device.clone(),
            who(&row.owner),
            duration(total_ns(row)),
            count(row.delay.count),
            duration(row.delay.p50),
            duration(row.delay.p99),
            count(row.requests),
            bytes(row.bytes),
            row.owner.cgroup.clone(),
        ]);
    }
    page.table(&table);
    page.more(block.noise.len().saturating_sub(page.top), "others");
}
