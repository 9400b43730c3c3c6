//! The slowest single statements, each with its own ledger: ten of them, so the memory is bounded by that.

use serde::{Deserialize, Serialize};

use super::{
    Aggregate,
    account::{Account, Names},
    queries::ClassKey,
};
use crate::{ledger::Ledger, report::model, time::Merge};

const KEPT: usize = 10;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slow {
    pub pid: u32,
    pub class: ClassKey,
    pub start_ns: u64,
    pub latency_ns: u64,
    pub error: bool,
    pub ledger: Ledger,
    pub blocker: Option<model::Blocker>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Slowest {
    /// The slowest first; of equals, the one seen first.
    kept: Vec<Slow>,
    /// What a statement must exceed once ten are kept.
    floor_ns: u64,
}

impl Slowest {
    /// Whether a statement would be kept: nearly never, hence asked before anything is made of it.
    #[inline]
    pub fn admits(&self, latency_ns: u64) -> bool {
        latency_ns > self.floor_ns || self.kept.len() < KEPT
    }

    pub fn insert(&mut self, slow: Slow) {
        let at = self.kept.partition_point(|kept| kept.latency_ns >= slow.latency_ns);
        self.kept.insert(at, slow);
        self.kept.truncate(KEPT);
        if let (KEPT, Some(last)) = (self.kept.len(), self.kept.last()) {
            self.floor_ns = last.latency_ns;
        }
    }
}

impl Merge for Slowest {
    fn merge(&mut self, later: Self) {
        later.kept.into_iter().for_each(|slow| self.insert(slow));
    }
}

impl Aggregate {
    /// A wait of a live backend for another one ended. Its longest since its last statement that slept stands with its
    /// next one that does, if that is among the slowest: the wait's record comes before the statement's.
    pub fn blocked_by(&mut self, pid: u32, blocker: model::Blocker, waited_ns: u64) {
        let Some(backend) = self.live.get_mut(&pid) else { return };
        if backend.blocked.as_ref().is_none_or(|known| known.0 < waited_ns) {
            backend.blocked = Some(Box::new((waited_ns, blocker)));
        }
    }
}

impl Account {
    pub(super) fn slowest(&self, names: Names<'_>) -> Vec<model::Slow> {
        let of = |slow: &Slow| {
            let text = names.texts.get(slow.class.0);
            let (database, user) = names.owner(slow.class.1);
            model::Slow {
                pid: slow.pid,
                query_id: text.query_id.clone(),
                query: text.text.clone(),
                database,
                user,
                began_ns: slow.start_ns.saturating_sub(self.from_ns),
                latency_ns: slow.latency_ns,
                error: slow.error,
                ledger: slow.ledger.model(names.major),
                blocker: slow.blocker.clone(),
            }
        };
        self.slowest.kept.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::{
        ledger::Ledger as KernelLedger,
        record::{Finished, STATEMENT_ERROR},
    };

    use super::*;

    fn aggregate() -> Aggregate {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        aggregate.begins(1_000);
        aggregate.appear(7, None);
        aggregate
    }

    fn finished(start_ns: u64, wall: u64) -> Finished {
        Finished { start_ns, end_ns: start_ns + wall, ..Finished::default() }
    }

    #[test]
    fn the_ten_slowest_in_order() {
        let mut aggregate = aggregate();
        let mut wall = 1;
        for n in 0..1_000 {
            wall = wall * 7_919 % 10_007;
            aggregate.statement(7, &finished(1_000 + n, wall), None);
        }
        let slowest = aggregate.account.slowest(aggregate.names());
        let latencies: Vec<_> = slowest.iter().map(|slow| slow.latency_ns).collect();
        let mut all: Vec<u64> = std::iter::successors(Some(7_919), |w| Some(w * 7_919 % 10_007)).take(1_000).collect();
        all.sort_unstable_by_key(|wall| std::cmp::Reverse(*wall));
        assert_eq!(latencies, all[..KEPT]);
        assert!(slowest.iter().all(|slow| slow.ledger.wall_ns == slow.latency_ns && slow.began_ns < 1_000));
    }

    #[test]
    fn the_longest_wait_stands_with_the_statement_that_slept() {
        let mut aggregate = aggregate();
        let by = |pid| model::Blocker { pid, ..model::Blocker::default() };
        aggregate.blocked_by(7, by(1), 100);
        aggregate.blocked_by(7, by(2), 300);
        aggregate.blocked_by(7, by(3), 200);
        // One of a batch that is sent late: it never slept.
        aggregate.statement(7, &finished(2_000, 10), None);
        let flags = STATEMENT_ERROR;
        aggregate.statement(7, &Finished { flags, ..finished(3_000, 500) }, Some(&KernelLedger::default()));
        aggregate.statement(7, &finished(4_000, 400), Some(&KernelLedger::default()));
        let slowest = aggregate.account.slowest(aggregate.names());
        let blockers: Vec<_> = slowest.iter().map(|slow| slow.blocker.as_ref().map(|by| by.pid)).collect();
        assert_eq!(blockers, [Some(2), None, None]);
        assert_eq!((slowest[0].error, slowest[0].began_ns), (true, 2_000));
        aggregate.blocked_by(4711, by(1), 100);
    }
}
