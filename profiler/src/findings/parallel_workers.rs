//! Statements whose work is done by parallel workers: their time does not show in the leader's account.

use super::rule::{Confidence, Found, Rule, Severity};
use super::time::{NOTABLE, duration, number, of_ledger, share, short, waits, waits_in};
use crate::report::model::{LedgerPart, Query, Report};
use crate::vocabulary::State;

pub const RULE: Rule = Rule { id: "parallel_workers", about: is_wait_for_workers, symptom: false, find };

/// Workers' time against the leaders' from which on the leaders' alone is misleading.
const MUCH: f64 = 0.5;

fn is_wait_for_workers(part: &LedgerPart) -> bool {
    let ipc = ["ExecuteGather", "MessageQueueReceive", "BgWorkerStartup", "BgWorkerShutdown", "BgworkerStartup"];
    ipc.iter().any(|event| waits(part, "IPC", event))
        || waits_in(part, "IPC", "Parallel")
        || waits_in(part, "IPC", "HashB")
        || waits_in(part, "IPC", "HashGrow")
}

fn find(report: &Report) -> Option<Found> {
    let is_worth = |query: &&Query| {
        let (workers, leaders) = (query.workers.wall_ns, query.ledger.wall_ns);
        workers > 0 && workers as f64 >= MUCH * leaders as f64 && share(report, workers.max(leaders)) >= NOTABLE
    };
    let mut parallel: Vec<&Query> = report.queries.iter().filter(is_worth).collect();
    parallel.sort_by_key(|query| std::cmp::Reverse(query.workers.wall_ns));
    let worst = *parallel.first()?;
    let on_cpu = |part: &LedgerPart| part.state == State::Cpu;
    let evidence: Vec<String> = parallel
        .iter()
        .take(3)
        .map(|query| {
            format!(
                "{} workers for {} calls: {} beside {} of the leaders ({} and {} on CPU): {}",
                number(query.worker_processes),
                number(query.calls),
                duration(query.workers.wall_ns),
                duration(query.ledger.wall_ns),
                duration(of_ledger(&query.workers, on_cpu).ns),
                duration(of_ledger(&query.ledger, on_cpu).ns),
                short(&query.query)
            )
        })
        .collect();
    let workers: u64 = parallel.iter().map(|query| query.workers.wall_ns).sum();
    let waited: u64 = parallel.iter().map(|query| of_ledger(&query.ledger, is_wait_for_workers).ns).sum();
    let mut evidence = evidence;
    if waited > 0 {
        evidence.push(format!("the leaders waited {} for their workers", duration(waited)));
    }
    Some(Found {
        severity: Severity::Info,
        confidence: Confidence::High,
        title: format!(
            "parallel workers took {} more than the statement time shows, {:.1} of them a call",
            duration(workers),
            worst.worker_processes as f64 / worst.calls.max(1) as f64
        ),
        evidence,
        advice:
            "Where the CPUs are full, fewer workers let others run: max_parallel_workers_per_gather (for one role: \
                 ALTER ROLE … SET), max_parallel_workers. Where the statement is too slow or runs too often, make it \
                 cheaper first: EXPLAIN (ANALYZE, VERBOSE) shows each worker's part."
                .into(),
        explained_ns: waited,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;
    use crate::report::fixture;

    #[test]
    fn shows_the_workers_beside_their_leader() {
        let mut report = testing::report(&[("cpu", "", 400), ("blocked", "IPC:ExecuteGather", 600)]);
        assert_eq!(find(&RULE, &report), None);
        report.queries[0].calls = 10;
        report.queries[0].worker_processes = 20;
        report.queries[0].workers = fixture::ledger(vec![testing::part("cpu", "", None, 1_900)]);
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.title, "parallel workers took 1.90 s more than the statement time shows, 2.0 of them a call");
        assert!(found.evidence[0].starts_with("20 workers for 10 calls: 1.90 s beside 1.00 s of the leaders (1.90 s"));
        assert_eq!((found.explained_ns, found.severity), (600_000_000, Severity::Info));
        report.queries[0].workers.wall_ns = 100_000_000;
        assert_eq!(find(&RULE, &report), None);
    }
}
