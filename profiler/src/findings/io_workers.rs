//! Backends wait until one of the io workers comes to their reads: there are too few (18 and later).
//!
//! A wait has a part before the worker begins the read, and that part is what more workers would take away, if those there
//! are were seldom without work. Where they mostly waited for a CPU, that is missing first: the confidence is low.

use super::rule::{Confidence, Found, Rule};
use super::time::{duration, is_notable, notable, number, percent, severity_of, share, short, waits};
use crate::report::{
    model::{LedgerPart, Report},
    phrases::aio::worker_time,
};
use crate::vocabulary::Role;

pub const RULE: Rule = Rule { id: "io_workers", about: is_wait, symptom: false, find };

/// Share of the waits that was spent in the queue, from which on the workers are what is missing.
const QUEUED: f64 = 0.4;
/// Workers that were without work for more than this share of their time are enough.
const IDLE: f64 = 0.4;

fn is_wait(part: &LedgerPart) -> bool {
    waits(part, "IO", "AioIoCompletion")
}

fn find(report: &Report) -> Option<Found> {
    notable(report, is_wait)?;
    let aio = report.storage.aio.as_ref()?;
    let workers = aio.workers.as_ref()?;
    let by_workers = || aio.waits.iter().filter(|wait| wait.by == Role::IoWorker);
    let total: u64 = by_workers().map(|wait| wait.total_ns).sum();
    let queued: u64 = by_workers().map(|wait| wait.queued_ns).sum();
    let count: u64 = by_workers().map(|wait| wait.count).sum();
    let time = worker_time(report)?;
    if (queued as f64) < QUEUED * total as f64 || !is_notable(report, queued) || time.idle > IDLE {
        return None;
    }
    // More workers share the waits for a CPU among them, but it is a CPU that is missing first.
    let starved = time.runnable > time.reading + time.on_cpu;
    let mut evidence = vec![
        format!(
            "{} of {} in {} waits for io workers passed before the worker began the read",
            duration(queued),
            duration(total),
            number(count)
        ),
        format!(
            "of the time of io workers ({}), {} were without work, {} a wait for the device, {} on CPU, {} a wait for \
             a CPU",
            workers.setting,
            percent(time.idle),
            percent(time.reading),
            percent(time.on_cpu),
            percent(time.runnable)
        ),
    ];
    if let Some(depth) = aio.depth.as_ref().filter(|depth| depth.busy_looks > 0) {
        evidence.push(format!(
            "{:.1} reads under way on average while there were any, {} at most",
            depth.busy_mean,
            number(depth.max)
        ));
    }
    if let Some(worst) = by_workers().max_by_key(|wait| wait.queued_ns) {
        let who = worst.query.as_deref().map_or_else(|| format!("<{}>", worst.role), short);
        evidence.push(format!("most of it, {}, in: {who}", duration(worst.queued_ns)));
    }
    Some(Found {
        severity: severity_of(share(report, queued)),
        confidence: match (starved, time.idle < IDLE / 2.0) {
            (true, _) => Confidence::Low,
            (false, true) => Confidence::High,
            (false, false) => Confidence::Medium,
        },
        title: format!("{} of statement time is waiting for one of too few io workers", percent(share(report, queued))),
        evidence,
        advice: format!(
            "Raise io_workers (now {}; a reload is enough, at most 32) until they are without work for a part of their \
             time, as long as the device answers more reads at a time without becoming slower; or io_method = io_uring \
             (a restart), which needs no workers.",
            workers.setting
        ),
        explained_ns: queued,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find, part};
    use super::*;
    use crate::report::fixture;
    use crate::report::model::{self, Aio, AioDepth, AioWait, AioWorkers};

    /// Statements that waited 600 ms for a worker, of them `queued` in the queue; the worker without work for `idle`
    /// milliseconds of 1,000 and runnable for `runnable`.
    fn report(queued: u64, idle: u64, runnable: u64) -> Report {
        let mut report = testing::caused(400, &[("IO:AioIoCompletion", "poll", 600)]);
        let wait = AioWait {
            role: Role::ClientBackend.into(),
            query: Some("SELECT count(*) FROM t".into()),
            by: Role::IoWorker.into(),
            count: 100,
            total_ns: 600_000_000,
            queued_ns: queued * 1_000_000,
            ..AioWait::default()
        };
        report.storage.aio = Some(Aio {
            method: "worker".into(),
            max_concurrency: 64,
            depth: Some(AioDepth { looks: 10, busy_looks: 8, busy_mean: 9.5, max: 32, ..AioDepth::default() }),
            workers: Some(AioWorkers { setting: 1, ..AioWorkers::default() }),
            waits: vec![wait],
        });
        let outside = fixture::ledger(vec![
            part("blocked", "Activity:IoWorkerMain", Some("poll"), idle),
            part("runnable", "", Some("woken"), runnable),
            part("blocked", "IO:DataFileRead", Some("block_read"), 1_000 - idle - runnable),
        ]);
        report.roles.push(model::Role { role: Role::IoWorker.into(), outside, ..model::Role::default() });
        report
    }

    #[test]
    fn too_few_workers_are_said() {
        let found = find(&RULE, &report(500, 50, 10)).unwrap();
        assert_eq!(found.title, "50.0 % of statement time is waiting for one of too few io workers");
        assert_eq!(found.explained_ns, 500_000_000);
        assert_eq!(
            found.evidence[0],
            "500 ms of 600 ms in 100 waits for io workers passed before the worker began the read"
        );
        assert!(found.advice.contains("io_workers (now 1"), "{}", found.advice);
        assert_eq!(found.confidence, Confidence::High);
        assert_eq!(find(&RULE, &report(500, 50, 800)).unwrap().confidence, Confidence::Low);
        assert!(found.evidence[3].contains("SELECT count(*) FROM t"), "{:?}", found.evidence);
    }

    #[test]
    fn slow_reads_and_idle_workers_are_something_else() {
        assert_eq!(find(&RULE, &report(100, 50, 10)), None);
        assert_eq!(find(&RULE, &report(500, 700, 10)), None);
        let mut uring = report(500, 50, 10);
        uring.storage.aio.as_mut().unwrap().workers = None;
        assert_eq!(find(&RULE, &uring), None);
    }
}
