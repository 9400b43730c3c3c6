//! Asynchronous I/O of 18: how much was under way, what the io workers did, and who waited for them.

use crate::report::{
    model::{Aio, AioWorkers, Ledger, Report},
    text::{
        Page, Style,
        format::{count, duration, percent, rate, tie},
        table::Table,
    },
};

pub(super) fn render(report: &Report, page: &mut Page) {
    let Some(aio) = &report.storage.aio else { return };
    let any = aio.depth.as_ref().is_some_and(|depth| depth.busy_looks > 0) || !aio.waits.is_empty();
    if !any {
        return;
    }
    page.heading(&format!("ASYNCHRONOUS I/O: io_method = {}", aio.method));
    depth(aio, page);
    if let Some(workers) = &aio.workers {
        at_work(report, workers, page);
    }
    waits(aio, page);
}

fn depth(aio: &Aio, page: &mut Page) {
    let Some(depth) = &aio.depth else { return };
    let line = format!(
        " under way: {} on average, {} at most; {} of one process, {}; {} at the same time ({})",
        rate(depth.mean),
        count(depth.max),
        tie(&format!("at most {}", count(depth.process_max))),
        tie(&format!("which may have {}", aio.max_concurrency)),
        tie(&format!("at most {} processes", count(depth.processes_max))),
        tie(&format!("{} looks, {} of them saw any", count(depth.looks), count(depth.busy_looks))),
    );
    page.wrapped(Style::Plain, &line, 2, 3);
}

/// Shares of a time.
#[derive(Debug, PartialEq)]
pub(crate) struct WorkerTime {
    pub on_cpu: f64,
    pub runnable: f64,
    pub reading: f64,
    pub idle: f64,
}

/// What the io workers spent their time on, by their ledger.
pub(crate) fn worker_time(report: &Report) -> Option<WorkerTime> {
    let role = report.roles.iter().find(|role| role.role == "io worker")?;
    let ledgers: [&Ledger; 2] = [&role.ledger, &role.outside];
    let wall: u64 = ledgers.iter().map(|ledger| ledger.wall_ns).sum();
    let (mut cpu, mut runnable, mut reading, mut idle) = (0, 0, 0, 0);
    for part in ledgers.iter().flat_map(|ledger| &ledger.parts) {
        let sum = match part.state.as_ref() {
            "cpu" => &mut cpu,
            "runnable" => &mut runnable,
            "blocked" if part.wait_event.as_deref() == Some("IoWorkerMain") => &mut idle,
            "blocked" if part.cause.as_deref() == Some("block_read") => &mut reading,
            _ => continue,
        };
        *sum += part.ns;
    }
    let share = |ns: u64| ns as f64 / wall.max(1) as f64;
    let time =
        || WorkerTime { on_cpu: share(cpu), runnable: share(runnable), reading: share(reading), idle: share(idle) };
    (wall > 0).then(time)
}

fn at_work(report: &Report, workers: &AioWorkers, page: &mut Page) {
    let s = if workers.setting == 1 { "" } else { "s" };
    let mut line = format!(" {}", tie(&format!("{} io worker{s}", workers.setting)));
    if let Some(time) = worker_time(report) {
        let parts = [
            ("waiting for the device", time.reading),
            ("on CPU", time.on_cpu),
            ("waiting for a CPU", time.runnable),
            ("without work", time.idle),
        ];
        let parts: Vec<String> =
            parts.iter().map(|(what, share)| tie(&format!("{} {what}", percent(*share)))).collect();
        line += &format!(", of their time {}", parts.join(", "));
    }
    let looks = report.storage.aio.as_ref().and_then(|aio| aio.depth.as_ref()).map_or(0, |depth| depth.looks);
    if looks > 0 {
        let share = workers.all_busy_looks as f64 / looks as f64;
        line += &format!("; {}", tie(&format!("all at work in {} of the looks", percent(share))));
    }
    page.wrapped(Style::Plain, &line, 2, 3);
}

fn waits(aio: &Aio, page: &mut Page) {
    if aio.waits.is_empty() {
        return;
    }
    let mut table = Table::new()
        .number("WAITED", 0)
        .number("WAITS", 2)
        .number("LONGEST", 3)
        .number("QUEUED", 0)
        .number("READ", 0)
        .number("COMPLETED", 5)
        .number("DEVICE", 4)
        .name("FOR", 1)
        .main_text("WHO WAITED FOR READS OF OTHERS");
    for wait in aio.waits.iter().take(page.top) {
        let some = |ns: u64| if ns == 0 { "-".into() } else { duration(ns) };
        table.row(vec![
            duration(wait.total_ns),
            count(wait.count),
            duration(wait.max_ns),
            some(wait.queued_ns),
            some(wait.reading_ns),
            some(wait.completing_ns),
            if wait.by == "io worker" { count(wait.from_device) } else { "-".into() },
            wait.by.clone(),
            wait.query.clone().unwrap_or_else(|| format!("<{}>", wait.role)),
        ]);
    }
    page.table(&table);
    page.more(aio.waits.len().saturating_sub(page.top), "classes");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::model::Role;

    #[test]
    fn the_time_of_io_workers_is_that_of_their_ledger() {
        let mut report = fixture::idle();
        assert_eq!(worker_time(&report), None);
        let part = |state, event, cause, ns| fixture::part(state, event, cause, ns, 1);
        let outside = fixture::ledger(vec![
            part("blocked", "Activity:IoWorkerMain", Some("poll"), 100),
            part("blocked", "IO:DataFileRead", Some("block_read"), 600),
            part("cpu", "", None, 200),
            part("runnable", "", Some("woken"), 100),
        ]);
        report.roles.push(Role { role: "io worker".into(), outside, ..Role::default() });
        let time = WorkerTime { on_cpu: 0.2, runnable: 0.1, reading: 0.6, idle: 0.1 };
        assert_eq!(worker_time(&report), Some(time));
    }
}
