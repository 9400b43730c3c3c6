//! Asynchronous I/O of 18: how much was under way, what the io workers did, and who waited for them.

use super::plural;
use crate::{
    page::{Cell, Line, Section, Table},
    report::{
        model::{Aio, AioDepth, AioWorkers, Report},
        phrases::aio::worker_time,
    },
    vocabulary::Role,
    words::{count, percent, rate, tie},
};

pub(super) fn section(report: &Report, top: usize) -> Option<Section> {
    let aio = report.storage.aio.as_ref()?;
    let any = aio.depth.as_ref().is_some_and(|depth| depth.busy_looks > 0) || !aio.waits.is_empty();
    if !any {
        return None;
    }
    let mut section = Section::new(format!("ASYNCHRONOUS I/O: io_method = {}", aio.method));
    if let Some(depth) = &aio.depth {
        section.line(under_way(aio, depth));
    }
    if let Some(workers) = &aio.workers {
        section.line(at_work(report, aio, workers));
    }
    waits(aio, top, &mut section);
    Some(section)
}

fn under_way(aio: &Aio, depth: &AioDepth) -> Line {
    let text = format!(
        "{} on average, {} at most; {} in one process {}; {} at the same time ({})",
        rate(depth.mean),
        count(depth.max),
        tie(&format!("at most {}", count(depth.process_max))),
        tie(&format!("(limit {})", aio.max_concurrency)),
        tie(&format!("at most {} processes", count(depth.processes_max))),
        tie(&format!("{} samples, {} with I/O in flight", count(depth.looks), count(depth.busy_looks))),
    );
    Line::text(text).indent(1).label("in flight:").wrap(2, 3)
}

fn at_work(report: &Report, aio: &Aio, workers: &AioWorkers) -> Line {
    let mut text = tie(&format!("{} io worker{}", workers.setting, plural(workers.setting.into())));
    if let Some(time) = worker_time(report) {
        let parts = [
            ("waiting for the device", time.reading),
            ("on CPU", time.on_cpu),
            ("waiting for a CPU", time.runnable),
            ("idle", time.idle),
        ];
        let parts: Vec<String> =
            parts.iter().map(|(what, share)| tie(&format!("{} {what}", percent(*share)))).collect();
        text += &format!(": {}", parts.join(", "));
    }
    let looks = aio.depth.as_ref().map_or(0, |depth| depth.looks);
    if looks > 0 {
        let share = workers.all_busy_looks as f64 / looks as f64;
        text += &format!("; {}", tie(&format!("all busy in {} of the samples", percent(share))));
    }
    Line::text(text).indent(1).wrap(2, 3)
}

fn waits(aio: &Aio, top: usize, section: &mut Section) {
    if aio.waits.is_empty() {
        return;
    }
    let mut table = Table::default()
        .number("WAITED", 0)
        .number("WAITS", 2)
        .number("LONGEST", 3)
        .number("QUEUED", 0)
        .number("READ", 0)
        .number("COMPLETED", 5)
        .number("DEVICE", 4)
        .name("FOR", 1)
        .main_text("WAITING FOR READS BY OTHER PROCESSES");
    for wait in aio.waits.iter().take(top) {
        table.row(vec![
            Cell::Duration(wait.total_ns),
            Cell::Count(wait.count),
            Cell::Duration(wait.max_ns),
            Cell::or_missing(wait.queued_ns, Cell::Duration),
            Cell::or_missing(wait.reading_ns, Cell::Duration),
            Cell::or_missing(wait.completing_ns, Cell::Duration),
            Cell::Count(wait.from_device).when(wait.by == Role::IoWorker),
            Cell::name(&wait.by),
            wait.query.as_ref().map_or_else(|| Cell::text(format!("<{}>", wait.role)), Cell::code),
        ]);
    }
    section.table(table);
    section.more(aio.waits.len(), top, "classes");
}
