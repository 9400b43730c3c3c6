//! Waits for asynchronous reads that another process makes, by class and by the role of those that made them.
//!
//! The wake-up comes before the record of its statement, so sums are kept until that tells the class.

use std::collections::{BTreeMap, HashMap};

use pgstrobe_common::aio::{AIO_FROM_DEVICE, AioWake};
use serde::{Deserialize, Serialize};

use super::{
    Aggregate,
    account::{Account, Names},
    queries::ClassKey,
};
use crate::{postgres::backend::Role, report::model, time::Merge};

/// Rows kept apart.
const MAX_ROWS: usize = 1_000;

/// Role of those that waited, their class, role of those that ended the wait.
type Key = (Role, Option<u32>, Role);

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sum {
    count: u64,
    total_ns: u64,
    max_ns: u64,
    queued_ns: u64,
    reading_ns: u64,
    completing_ns: u64,
    from_device: u64,
}

impl Sum {
    fn of(wake: &AioWake, by_worker: bool) -> Self {
        let mut sum = Self { count: 1, total_ns: wake.waited_ns, max_ns: wake.waited_ns, ..Self::default() };
        let ended = wake.header.ts_ns;
        let began = ended.saturating_sub(wake.waited_ns);
        // A worker wakes those that wait for a read right after it: what it did last is that read.
        if by_worker && wake.call_began_ns != 0 && wake.call_ended_ns <= ended {
            let (read, done) = (wake.call_began_ns.max(began), wake.call_ended_ns.max(began));
            sum.queued_ns = read - began;
            sum.reading_ns = done - read;
            sum.completing_ns = ended - done;
            sum.from_device = (wake.flags & AIO_FROM_DEVICE != 0) as u64;
        }
        sum
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.total_ns += other.total_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.queued_ns += other.queued_ns;
        self.reading_ns += other.reading_ns;
        self.completing_ns += other.completing_ns;
        self.from_device += other.from_device;
    }
}

/// Those of a stretch of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Aio {
    rows: HashMap<Key, Sum>,
    /// Of statements that were open at the end, by their text.
    open: BTreeMap<(Role, Option<String>, Role), Sum>,
}

/// Of a statement that has not ended.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Pending {
    start_ns: u64,
    role: Role,
    by: Vec<(Role, Sum)>,
}

impl Aio {
    fn add(&mut self, mut key: Key, sum: &Sum) {
        if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&key) {
            key = (Role::Other, None, key.2);
        }
        self.rows.entry(key).or_default().add(sum);
    }

    fn open(&mut self, key: (Role, Option<String>, Role), sum: &Sum) {
        let room = self.open.len() < MAX_ROWS || self.open.contains_key(&key);
        self.open.entry(if room { key } else { (Role::Other, None, key.2) }).or_default().add(sum);
    }
}

impl Merge for Aio {
    fn merge(&mut self, later: Self) {
        for (key, sum) in later.rows {
            self.add(key, &sum);
        }
        for (key, sum) in later.open {
            self.open(key, &sum);
        }
    }
}

impl Aggregate {
    /// A process ended another one's wait for a read.
    pub fn aio_wake(&mut self, wake: &AioWake) {
        let pid = wake.header.pid;
        let role = |pid| self.identity(pid).map_or(Role::Unknown, |identity| identity.role);
        let (role, by) = (role(pid), role(wake.waker));
        let sum = Sum::of(wake, by == Role::IoWorker);
        if wake.start_ns == 0 {
            return self.account.aio.add((role, None, by), &sum);
        }
        if self.aio.get(&pid).is_some_and(|pending| pending.start_ns != wake.start_ns) {
            // The end of that statement was not seen: it has no class.
            self.leave_aio(pid, None);
        }
        let new = || Pending { start_ns: wake.start_ns, role, by: Vec::new() };
        let sums = &mut self.aio.entry(pid).or_insert_with(new).by;
        match sums.iter_mut().find(|(of, _)| *of == by) {
            Some((_, known)) => known.add(&sum),
            None => sums.push((by, sum)),
        }
    }

    /// The statement that waited has ended, and has a class.
    pub(super) fn claim_aio(&mut self, pid: u32, start_ns: u64, class: ClassKey) {
        if let Some(pending) = self.aio.get(&pid) {
            let class = (pending.start_ns == start_ns).then_some(class.0);
            self.leave_aio(pid, class);
        }
    }

    fn leave_aio(&mut self, pid: u32, class: Option<u32>) {
        let Some(pending) = self.aio.remove(&pid) else { return };
        for (by, sum) in &pending.by {
            self.account.aio.add((pending.role, class, *by), sum);
        }
    }

    /// The account is closed: what statements waited for that are still open is told by their texts, and forgotten.
    pub(super) fn close_aio(&mut self) {
        for (pid, pending) in self.aio.drain() {
            let query = self.account.open(pid).and_then(|open| open.query.clone());
            for (by, sum) in &pending.by {
                self.account.aio.open((pending.role, query.clone(), *by), sum);
            }
        }
    }
}

impl Account {
    /// The rows of who waited.
    pub fn aio_waits(&self, names: Names<'_>) -> Vec<model::AioWait> {
        let mut rows = self.aio.open.clone();
        for ((role, class, by), sum) in &self.aio.rows {
            rows.entry((*role, class.map(|class| names.text(class)), *by)).or_default().add(sum);
        }
        let mut rows: Vec<_> = rows
            .into_iter()
            .map(|((role, query, by), sum)| model::AioWait {
                role: role.into(),
                query,
                by: by.into(),
                count: sum.count,
                total_ns: sum.total_ns,
                max_ns: sum.max_ns,
                queued_ns: sum.queued_ns,
                reading_ns: sum.reading_ns,
                completing_ns: sum.completing_ns,
                from_device: sum.from_device,
            })
            .collect();
        rows.sort_by(|a, b| (b.total_ns, &a.query, &a.by).cmp(&(a.total_ns, &b.query, &b.by)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::{
        ledger::Ledger as KernelLedger,
        record::{Finished, Header, STATEMENT_QUERY_ID},
    };

    use super::*;
    use crate::postgres::backend::Identity;

    const CLIENT: u32 = 7;
    const WORKER: u32 = 8;
    const OTHER: u32 = 9;

    /// From 1,000 on; the read from 1,300 to 1,900.
    fn wake(waker: u32, ended: u64) -> AioWake {
        AioWake {
            header: Header { pid: CLIENT, ts_ns: ended, ..Header::default() },
            waker,
            flags: AIO_FROM_DEVICE,
            waited_ns: ended - 1_000,
            start_ns: 500,
            call_began_ns: 1_300,
            call_ended_ns: 1_900,
        }
    }

    fn aggregate() -> Aggregate {
        let mut aggregate = Aggregate::new(18, "/data".into(), false);
        for (pid, role) in [(CLIENT, Role::ClientBackend), (WORKER, Role::IoWorker), (OTHER, Role::ClientBackend)] {
            aggregate.appear(pid, None);
            aggregate.identify(pid, Identity::of(role));
        }
        aggregate.text(1, true, b"SELECT 1", false, true);
        aggregate
    }

    fn end(aggregate: &mut Aggregate, start_ns: u64) {
        let flags = STATEMENT_QUERY_ID;
        let finished = Finished { start_ns, end_ns: 9_000, class_key: 1, flags, ..Finished::default() };
        aggregate.statement(CLIENT, &finished, Some(&KernelLedger::default()));
    }

    #[test]
    fn a_wait_is_split_by_the_read_of_the_worker() {
        let mut aggregate = aggregate();
        aggregate.aio_wake(&wake(WORKER, 2_000));
        aggregate.aio_wake(&wake(OTHER, 2_000));
        end(&mut aggregate, 500);
        let rows = aggregate.account.aio_waits(aggregate.names());
        let row = |by: Role| rows.iter().find(|row| row.by == by).unwrap();
        let worker = row(Role::IoWorker);
        assert_eq!((worker.query.as_deref(), worker.count, worker.total_ns), (Some("SELECT $1"), 1, 1_000));
        assert_eq!((worker.queued_ns, worker.reading_ns, worker.completing_ns), (300, 600, 100));
        assert_eq!(worker.from_device, 1);
        // Another one's last call need not be the read.
        let other = row(Role::ClientBackend);
        assert_eq!((other.total_ns, other.queued_ns, other.reading_ns), (1_000, 0, 0));
        aggregate.forget();
        assert_eq!(aggregate.account.aio_waits(aggregate.names()), []);
    }

    #[test]
    fn a_read_that_began_before_the_wait_was_not_waited_for_from_its_beginning() {
        let sum = Sum::of(&AioWake { call_began_ns: 400, ..wake(WORKER, 2_000) }, true);
        assert_eq!((sum.queued_ns, sum.reading_ns, sum.completing_ns), (0, 900, 100));
    }

    #[test]
    fn waits_of_a_statement_whose_end_was_not_seen_have_no_class() {
        let mut aggregate = aggregate();
        aggregate.aio_wake(&wake(WORKER, 2_000));
        end(&mut aggregate, 4_000);
        assert_eq!(aggregate.account.aio_waits(aggregate.names())[0].query, None);
    }
}
