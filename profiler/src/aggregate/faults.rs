//! Page faults by statement class and backend.
//!
//! Those of a statement come in a record of their own before that of the statement, those of a process outside statements with
//! its exit. Of a live process all are known from the kernel; what is not of its statements is of the time outside. So the sum of
//! a backend is what the kernel counted. A parallel worker's go to the statement of its leader, as its time does.

use pgstrobe_common::{
    faults::{FAULTS_OUTSIDE, Faulted, Faults},
    record::Finished,
    state::{BACKEND_OPEN, Backend as KernelBackend},
};

use super::{Aggregate, known};
use crate::report::model;

/// Of one backend.
#[derive(Clone, Copy, Default)]
pub(super) struct BackendFaults {
    /// Outside statements, since accounting began, of earlier reports.
    outside: Faults,
    /// The statement that was open at the last report: its start, and what was reported of it.
    open: (u64, Faults),
    /// Start of the last statement whose record has come.
    ended_start_ns: u64,
    /// Of a process that has ended: outside statements, in its whole life.
    pub life: Faults,
}

pub(super) fn model(faults: Faults) -> model::Faults {
    model::Faults { minor: faults.minor, major: faults.major }
}

impl BackendFaults {
    /// Those outside statements are now so many in all: what came since this was last said.
    fn outside(&mut self, now: Faults) -> Faults {
        now.since(std::mem::replace(&mut self.outside, now))
    }
}

impl Aggregate {
    /// Faults of a statement, or of a process outside statements until its exit. A statement's are its class's, whole, when it
    /// ends; of the process, what earlier accounts do not have.
    pub fn faulted(&mut self, record: &Faulted) {
        let pid = record.header.pid;
        let backend = known(&mut self.live, &mut self.serial, pid);
        if record.flags & FAULTS_OUTSIDE != 0 {
            backend.process.faults.add(backend.faults.outside(record.faults));
            backend.faults.life = record.faults;
            return;
        }
        let (start_ns, reported) = std::mem::take(&mut backend.faults.open);
        let faults = if start_ns == record.start_ns { record.faults.since(reported) } else { record.faults };
        backend.faults.ended_start_ns = record.start_ns;
        backend.process.faults.add(faults);
        let class = Finished { class_key: record.class_key, flags: record.flags, ..Finished::default() };
        let queries = &mut self.account.queries;
        let place = queries.place(backend.owner, &mut backend.last_class, &class, &mut self.texts);
        queries.at(place).faults.add(record.faults);
    }

    /// The state of a live backend when an account is closed, and what the kernel had counted of it at that moment.
    pub fn settle_faults(&mut self, pid: u32, state: &KernelBackend, counted: Faults) {
        let Some(backend) = self.live.get_mut(&pid) else { return };
        let (faults, sum, kernel) = (&mut backend.faults, &mut backend.process.faults, &state.faults);
        let mut open = Faults::default();
        if state.flags & BACKEND_OPEN != 0 {
            open = counted.since(kernel.mark);
            // Its record may have come since.
            if state.start_ns != faults.ended_start_ns {
                let before = if faults.open.0 == state.start_ns { faults.open.1 } else { Faults::default() };
                sum.add(open.since(before));
                faults.open = (state.start_ns, open);
            }
        }
        sum.add(faults.outside(counted.since(kernel.since).since(kernel.inside).since(open)));
    }
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::{
        faults::BackendFaults as KernelFaults,
        record::{Exit, Header, STATEMENT_QUERY_ID},
    };

    use super::*;
    use crate::{
        postgres::backend::{Identity, Role},
        report::model::Report,
    };

    const CLIENT: u32 = 7;
    const WORKER: u32 = 8;

    fn faults(minor: u64) -> Faults {
        Faults { minor, major: minor / 100 }
    }

    fn faulted(pid: u32, start_ns: u64, flags: u32, minor: u64) -> Faulted {
        let header = Header::of::<Faulted>(0, pid, start_ns + 100);
        Faulted { header, class_key: 1, start_ns, flags, _pad: 0, faults: faults(minor) }
    }

    fn state(flags: u32, start_ns: u64, [since, mark, inside]: [u64; 3]) -> KernelBackend {
        let kept = KernelFaults { since: faults(since), mark: faults(mark), inside: faults(inside) };
        KernelBackend { pid: CLIENT, flags, start_ns, faults: kept, ..KernelBackend::default() }
    }

    fn report(aggregate: &Aggregate) -> (Vec<u64>, Vec<u64>) {
        let mut report = Report::default();
        aggregate.fill(&mut report);
        let backends = report.backends.iter().map(|one| one.faults.minor).collect();
        (backends, report.queries.iter().map(|one| one.faults.minor).collect())
    }

    fn aggregate() -> Aggregate {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        aggregate.appear(CLIENT, None);
        aggregate.identify(CLIENT, Identity::of(Role::ClientBackend));
        aggregate
    }

    #[test]
    fn a_backend_has_what_the_kernel_counted_and_a_class_its_statements() {
        let mut aggregate = aggregate();
        aggregate.faulted(&faulted(CLIENT, 1_000, STATEMENT_QUERY_ID, 300));
        // Found with 500; 300 in its statement; 40 more.
        aggregate.settle_faults(CLIENT, &state(0, 1_000, [500, 800, 300]), faults(840));
        assert_eq!(report(&aggregate), (vec![340], vec![300]));
        aggregate.forget();
        aggregate.settle_faults(CLIENT, &state(0, 1_000, [500, 800, 300]), faults(840));
        assert_eq!(report(&aggregate), (vec![0], vec![]));
    }

    #[test]
    fn an_open_statement_is_counted_once() {
        let mut aggregate = aggregate();
        let open = state(BACKEND_OPEN, 2_000, [0, 100, 0]);
        aggregate.settle_faults(CLIENT, &open, faults(600));
        assert_eq!(report(&aggregate), (vec![600], vec![]), "100 outside, and the statement");
        aggregate.forget();
        aggregate.faulted(&faulted(CLIENT, 2_000, STATEMENT_QUERY_ID, 700));
        assert_eq!(report(&aggregate), (vec![200], vec![700]), "a class has its statements whole");
    }

    #[test]
    fn a_workers_belong_to_the_statement_of_its_leader() {
        let mut aggregate = aggregate();
        aggregate.appear(WORKER, None);
        aggregate.identify(WORKER, Identity { leader: Some(CLIENT), ..Identity::of(Role::ParallelWorker) });
        aggregate.faulted(&faulted(WORKER, 0, FAULTS_OUTSIDE, 50));
        aggregate.ends(WORKER, 150);
        aggregate.exit(&Exit { header: Header { pid: WORKER, ..Header::default() }, ..Exit::default() });
        let flags = STATEMENT_QUERY_ID;
        let finished = Finished { start_ns: 100, end_ns: 200, class_key: 1, flags, ..Finished::default() };
        aggregate.faulted(&faulted(CLIENT, 100, flags, 20));
        aggregate.statement(CLIENT, &finished, None);
        let (mut backends, classes) = report(&aggregate);
        backends.sort_unstable();
        assert_eq!((backends, classes), (vec![20, 50], vec![70]));
    }
}
