//! Parallel workers belong to the statement that started them: their time is an account beside that of their leader.
//!
//! A leader waits for the end of its workers before it answers (`WaitForParallelWorkersToExit`,
//! src/backend/access/transam/parallel.c), for index builds and vacuum as well. So a worker's statement is the one of its
//! leader in which the worker ended. That statement's record comes later, and not always first: statements that never
//! slept come late, in batches. Hence what a worker leaves waits with the leader until the statement of its time comes.
//!
//! A worker whose statement never comes (its leader was killed, or has not finished yet) stays where every worker is as
//! well: among the backends; the report notes how many.

use pgstrobe_common::{faults::Faults, record::Finished};

use super::{
    Aggregate, Backend,
    io::{self, Io},
    queries::Query,
};
use crate::{ledger::Ledger, postgres::backend::Role};

/// Entries kept apart for one leader; beyond, they are summed: only a statement of very many workers has so many.
const MAX_ENTRIES: usize = 64;

/// Workers of one leader that ended, by time.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Workers(Vec<Ended>);

#[cfg_attr(test, derive(Clone))]
struct Ended {
    ended_ns: u64,
    processes: u64,
    ledger: Ledger,
    io: Option<Box<Io>>,
    faults: Faults,
}

impl Workers {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, ended_ns: u64, ledger: Ledger, io: Option<Box<Io>>, faults: Faults) {
        let full = self.0.len() >= MAX_ENTRIES;
        match self.0.last_mut() {
            Some(last) if full => {
                last.ended_ns = last.ended_ns.max(ended_ns);
                last.processes += 1;
                last.ledger.merge(&ledger);
                io::merge(&mut last.io, &io);
                last.faults.add(faults);
            }
            _ => self.0.push(Ended { ended_ns, processes: 1, ledger, io, faults }),
        }
    }

    /// Gives a statement's class the workers that ended in it.
    #[cold]
    pub fn claim(&mut self, statement: &Finished, query: &mut Query) {
        self.0.retain(|ended| {
            let its = (statement.start_ns..=statement.end_ns).contains(&ended.ended_ns);
            if its {
                query.worker_processes += ended.processes;
                query.workers.merge(&ended.ledger);
                io::merge(&mut query.io, &ended.io);
                query.faults.add(ended.faults);
            }
            !its
        });
    }

    fn processes(&self) -> u64 {
        self.0.iter().map(|ended| ended.processes).sum()
    }
}

impl Aggregate {
    /// A process ends now; [`Aggregate::exit`] follows.
    pub fn ends(&mut self, pid: u32, now_ns: u64) {
        if let Some(backend) = self.live.get_mut(&pid) {
            backend.ended_ns = now_ns;
        }
    }

    /// A process has ended, and its account is complete.
    pub(super) fn leave_to_leader(&mut self, backend: &mut Backend) {
        self.account.unclaimed_workers += backend.workers.processes();
        if backend.process.identity.role != Role::ParallelWorker {
            return;
        }
        let io = backend.process_io.take();
        let mut ledger = std::mem::take(&mut backend.outside_before);
        ledger.merge(&backend.process.outside);
        match backend.process.identity.leader.and_then(|leader| self.live.get_mut(&leader)) {
            Some(leader) => leader.workers.push(backend.ended_ns, ledger, io, backend.faults.life),
            None => self.account.unclaimed_workers += 1,
        }
    }

    /// Workers that ended for statements which have not.
    pub(super) fn waiting_workers(&self) -> u64 {
        self.live.values().map(|leader| leader.workers.processes()).sum()
    }
}

impl Backend {
    /// An interval ends: what a worker did so far goes to its statement, when that ends. In its first moments nobody
    /// knows yet that it is a worker.
    pub(super) fn keep_for_leader(&mut self) {
        if matches!(self.process.identity.role, Role::ParallelWorker | Role::Unknown) {
            self.outside_before.merge(&self.process.outside);
        }
    }
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::{
        ledger::Ledger as KernelLedger,
        record::{Exit, Header},
    };

    use super::*;
    use crate::{postgres::backend::Identity, report::model::Report};

    const LEADER: u32 = 7;

    fn aggregate() -> Aggregate {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        aggregate.appear(LEADER, None);
        aggregate.identify(LEADER, Identity::of(Role::ClientBackend));
        aggregate
    }

    fn appear(aggregate: &mut Aggregate, pid: u32) {
        aggregate.appear(pid, None);
        aggregate.identify(pid, Identity { leader: Some(LEADER), ..Identity::of(Role::ParallelWorker) });
    }

    fn end(aggregate: &mut Aggregate, pid: u32, at: u64, life: u64) {
        aggregate.ends(pid, at);
        let outside = KernelLedger { woken_ns: life / 10, ..Default::default() };
        let header = Header { pid, ..Header::default() };
        aggregate.exit(&Exit { header, outside_ns: life, outside, ..Exit::default() });
    }

    fn finished(start_ns: u64, end_ns: u64, class_key: u64) -> Finished {
        let flags = pgstrobe_common::record::STATEMENT_QUERY_ID;
        Finished { start_ns, end_ns, class_key, flags, ..Finished::default() }
    }

    /// (query id, workers, their time).
    fn workers(aggregate: &Aggregate) -> Vec<(String, u64, u64)> {
        let mut report = Report::default();
        aggregate.fill(&mut report);
        let mut rows: Vec<_> =
            report.queries.into_iter().map(|q| (q.query_id, q.worker_processes, q.workers.wall_ns)).collect();
        rows.sort();
        rows
    }

    fn note(aggregate: &Aggregate) -> Option<String> {
        let mut report = Report::default();
        aggregate.fill(&mut report);
        report.coverage.notes.into_iter().find(|note| note.contains("parallel workers"))
    }

    fn row(id: &str, processes: u64, ns: u64) -> (String, u64, u64) {
        (id.into(), processes, ns)
    }

    #[test]
    fn workers_belong_to_the_statement_they_ended_in() {
        let mut aggregate = aggregate();
        for pid in [10, 11, 12] {
            appear(&mut aggregate, pid);
        }
        end(&mut aggregate, 10, 150, 40);
        end(&mut aggregate, 11, 160, 50);
        end(&mut aggregate, 12, 350, 60);
        // One that slept comes before an earlier one of a batch.
        aggregate.statement(LEADER, &finished(300, 400, 2), Some(&KernelLedger::default()));
        aggregate.short_statements(LEADER, &[finished(10, 90, 1), finished(100, 200, 3), finished(210, 220, 1)]);
        assert_eq!(workers(&aggregate), [row("1", 0, 0), row("2", 1, 60), row("3", 2, 90)]);
        assert_eq!(note(&aggregate), None);
    }

    #[test]
    fn a_worker_of_several_intervals_goes_whole_to_its_statement() {
        let mut aggregate = aggregate();
        appear(&mut aggregate, 10);
        let state = |now: u64| (pgstrobe_common::state::Backend { pid: 10, since_ns: 100, ..Default::default() }, now);
        for (state, now) in [state(300), state(500)] {
            aggregate.settle(10, &state, now, None, false);
            aggregate.forget();
        }
        end(&mut aggregate, 10, 600, 500);
        aggregate.forget();
        assert!(note(&aggregate).is_some(), "its statement goes on");
        aggregate.statement(LEADER, &finished(90, 700, 1), Some(&KernelLedger::default()));
        assert_eq!(workers(&aggregate), [row("1", 1, 500)]);
        assert_eq!(note(&aggregate), None);
    }

    #[test]
    fn workers_without_a_statement_are_noted() {
        let mut aggregate = aggregate();
        for pid in [10, 11] {
            appear(&mut aggregate, pid);
        }
        end(&mut aggregate, 10, 150, 40);
        end(&mut aggregate, LEADER, 160, 10);
        end(&mut aggregate, 11, 170, 50);
        let said = note(&aggregate).expect("a note");
        assert!(said.starts_with("2 parallel workers"), "{said}");
        aggregate.forget();
        assert_eq!(note(&aggregate), None, "once");
    }

    #[test]
    fn very_many_workers_are_summed() {
        let mut aggregate = aggregate();
        for n in 0..10_000u32 {
            appear(&mut aggregate, 1_000 + n);
            end(&mut aggregate, 1_000 + n, 200 + u64::from(n), 5);
        }
        aggregate.statement(LEADER, &finished(100, 20_000, 1), Some(&KernelLedger::default()));
        assert_eq!(workers(&aggregate), [row("1", 10_000, 50_000)]);
    }
}
