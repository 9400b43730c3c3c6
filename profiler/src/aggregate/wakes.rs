//! Waits that another backend ended, by the wake-ups: who it was, and the class that waited.
//!
//! A wake-up comes before the record of the statement that waited, so it is kept until that tells the class. Waits for
//! heavyweight locks join those seen in the lock table ([`super::blocking`]); those for LWLocks and group updates are many,
//! short, and in no table: they are summed here by the two classes.

use std::collections::HashMap;

use pgstrobe_common::record::{WAKE_ACTIVE, WAKE_QUERY_ID, Wake};

use serde::{Deserialize, Serialize};

use super::{
    Aggregate,
    account::{Account, Names},
    blocking::Ended,
    pids::Pids,
    queries::ClassKey,
};
use crate::vocabulary::{BlockerState, Role};
use crate::{
    postgres::wait_event::{self, CLASS_LOCK},
    report::model,
};

/// Wake-ups kept for one statement; the longest of more are.
const MAX_PENDING: usize = 16;
/// Pairs of classes kept apart.
const MAX_PAIRS: usize = 1_000;

/// Wake-ups of a backend since its last statement.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Pending(Vec<Wake>);

impl Pending {
    fn push(&mut self, wake: Wake) {
        if self.0.len() < MAX_PENDING {
            self.0.push(wake);
        } else if let Some(shortest) = self.0.iter_mut().min_by_key(|kept| kept.waited_ns)
            && shortest.waited_ns < wake.waited_ns
        {
            *shortest = wake;
        }
    }
}

/// Waits of one class for another one, under one wait event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Pair {
    pids: Pids,
    count: u64,
    total_ns: u64,
    max_ns: u64,
    /// Of the longest.
    blocker: model::Blocker,
}

/// Wait event, class that waited, class waited for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pairs(HashMap<(u32, ClassKey, u32), Pair>);

impl Pairs {
    fn has_room(&self, key: &(u32, ClassKey, u32)) -> bool {
        self.0.len() < MAX_PAIRS || self.0.contains_key(key)
    }

    /// Adds those of a later stretch of time; how many waits found no room.
    pub fn merge_all(&mut self, later: Self) -> u64 {
        let mut folded = 0;
        for (key, pair) in later.0 {
            if !self.has_room(&key) {
                folded += pair.count;
                continue;
            }
            let known = self.0.entry(key).or_default();
            known.count += pair.count;
            known.total_ns += pair.total_ns;
            known.pids.merge(&pair.pids);
            if pair.max_ns >= known.max_ns {
                (known.max_ns, known.blocker) = (pair.max_ns, pair.blocker);
            }
        }
        folded
    }
}

impl Aggregate {
    /// A backend ended another one's wait.
    pub fn wake(&mut self, wake: &Wake) {
        let Some(backend) = self.live.get(&wake.header.pid) else { return };
        // Names are made only where they are kept: there may be ten thousands of wake-ups a second.
        if backend.blocked.as_ref().is_none_or(|known| known.0 < wake.waited_ns) {
            let blocker = self.waker(wake);
            self.blocked_by(wake.header.pid, blocker, wake.waited_ns);
        }
        let Some(backend) = self.live.get_mut(&wake.header.pid) else { return };
        if wake.start_ns != 0 {
            backend.wakes.push(*wake);
            return;
        }
        // Not in a statement: a worker, or a role that has none.
        let role = backend.process.identity.role;
        self.end_of_wait(wake, None, Some(format!("<{role}>")));
    }

    /// The statement that waited has ended, and has a class.
    pub(super) fn claim_wakes(&mut self, pid: u32, start_ns: u64, class: ClassKey) {
        let Some(backend) = self.live.get_mut(&pid) else { return };
        for wake in std::mem::take(&mut backend.wakes).0 {
            // One of another statement, whose end was not seen, has no class.
            let class = (wake.start_ns == start_ns).then_some(class);
            let text = class.map(|class| self.texts.get(class.0).text.clone());
            self.end_of_wait(&wake, class, text);
        }
    }

    fn end_of_wait(&mut self, wake: &Wake, class: Option<ClassKey>, text: Option<String>) {
        if wake.wait_event_info >> 24 == CLASS_LOCK {
            let blocker = self.waker(wake);
            let (waiter, event) = (wake.header.pid, wake.wait_event_info);
            let (waited_ns, ended_ns) = (wake.waited_ns, wake.header.ts_ns);
            self.ended(Ended { waiter, event, waited_ns, ended_ns, text, blocker: Some(blocker) });
            return;
        }
        let Some(class) = class else { return };
        let other = self.class_of_waker(wake).unwrap_or_default();
        let key = (wake.wait_event_info, class, other);
        if !self.account.pairs.has_room(&key) {
            self.account.blocked.folded += 1;
            return;
        }
        let longest = self.account.pairs.0.get(&key).is_none_or(|pair| wake.waited_ns >= pair.max_ns);
        let blocker = longest.then(|| self.waker(wake));
        let pair = self.account.pairs.0.entry(key).or_default();
        pair.count += 1;
        pair.total_ns += wake.waited_ns;
        pair.pids.add(wake.header.pid);
        if let Some(blocker) = blocker {
            pair.max_ns = wake.waited_ns;
            pair.blocker = blocker;
        }
    }

    /// Its statement at that moment where that was read, else its last one.
    fn class_of_waker(&mut self, wake: &Wake) -> Option<u32> {
        let key = if wake.class_key != 0 { wake.class_key } else { wake.last_key };
        (key != 0).then(|| self.texts.class(key, wake.flags & WAKE_QUERY_ID != 0))
    }

    fn waker(&mut self, wake: &Wake) -> model::Blocker {
        // It held on while its client did nothing, and let go with its next statement: the one before took the lock.
        let idle = wake.idle_ns.saturating_mul(2) >= wake.waited_ns && wake.idle_ns != 0;
        let class = match (idle, wake.last_key) {
            (true, key) if key != 0 => Some(self.texts.class(key, wake.flags & WAKE_QUERY_ID != 0)),
            _ => self.class_of_waker(wake),
        };
        let state = match idle {
            true => BlockerState::IdleInTransaction,
            false if wake.flags & WAKE_ACTIVE != 0 => BlockerState::Active,
            false => BlockerState::Idle,
        };
        model::Blocker {
            pid: wake.waker,
            role: self.identity(wake.waker).map_or(Role::Unknown, |identity| identity.role).into(),
            state: state.into(),
            query: class.map(|class| self.texts.get(class).text.clone()),
            running_ns: wake.running_ns,
            idle_in_transaction_ns: wake.idle_ns,
        }
    }
}

impl Account {
    /// Adds the pairs to the rows of who was waited for.
    pub(super) fn fill_pairs(&self, names: Names<'_>, rows: &mut Vec<model::Blocking>) {
        rows.extend(self.pairs.0.iter().map(|((event, class, _), pair)| {
            let event = wait_event::decode(names.major, *event);
            model::Blocking {
                wait_event_type: event.class.unwrap_or_default().into_owned(),
                wait_event: event.event.unwrap_or_default().into_owned(),
                query: names.text(class.0),
                pids: pair.pids.model(),
                count: pair.count,
                total_ns: pair.total_ns,
                max_ns: pair.max_ns,
                blocker: pair.blocker.clone(),
                ..model::Blocking::default()
            }
        }));
        rows.sort_by(|a, b| (b.total_ns, &a.query, a.blocker.pid).cmp(&(a.total_ns, &b.query, b.blocker.pid)));
    }
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::{
        ledger::Ledger as KernelLedger,
        record::{Finished, Header, STATEMENT_QUERY_ID},
    };

    use super::*;
    use crate::report::model::Report;

    const LWLOCK: u32 = 0x0100_0001;
    const TRANSACTION: u32 = 0x0300_0004;

    fn wake(event: u32, waited_ns: u64, idle_ns: u64) -> Wake {
        Wake {
            header: Header::of::<Wake>(0, 7, 5_000),
            wait_event_info: event,
            waker: 8,
            waited_ns,
            start_ns: 1_000,
            class_key: 2,
            last_key: 3,
            running_ns: 10,
            idle_ns,
            flags: WAKE_ACTIVE | WAKE_QUERY_ID,
            _pad: 0,
        }
    }

    fn report(wakes: &[Wake]) -> Report {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        for pid in [7, 8] {
            aggregate.appear(pid, None);
        }
        for (key, text) in [(1, "SELECT 1"), (2, "COMMIT"), (3, "UPDATE t SET a = 1")] {
            aggregate.text(key, true, text.as_bytes(), false, true);
        }
        for wake in wakes {
            aggregate.wake(wake);
        }
        let finished =
            Finished { start_ns: 1_000, end_ns: 6_000, class_key: 1, flags: STATEMENT_QUERY_ID, ..Finished::default() };
        aggregate.statement(7, &finished, Some(&KernelLedger::default()));
        let mut report = Report::default();
        aggregate.fill(&mut report);
        report
    }

    #[test]
    fn waits_for_lwlocks_are_summed_by_the_two_classes() {
        let report = report(&[wake(LWLOCK, 100, 0), wake(LWLOCK, 300, 0)]);
        let [row] = &report.blocking[..] else { panic!("{:?}", report.blocking) };
        assert_eq!((row.count, row.total_ns, row.max_ns, &row.pids[..]), (2, 400, 300, &[7][..]));
        assert_eq!((row.query.as_str(), row.wait_event_type.as_str()), ("SELECT $1", "LWLock"));
        assert_eq!(
            (row.blocker.pid, row.blocker.state.as_str(), row.blocker.query.as_deref()),
            (8, "active", Some("COMMIT"))
        );
        assert_eq!(report.slowest[0].blocker.as_ref().map(|blocker| blocker.pid), Some(8));
    }

    #[test]
    fn a_lock_kept_by_an_idle_transaction_is_put_down_to_its_last_statement() {
        let report = report(&[wake(TRANSACTION, 1_000, 900)]);
        let [row] = &report.blocking[..] else { panic!("{:?}", report.blocking) };
        assert_eq!((row.count, row.total_ns, row.query.as_str()), (1, 1_000, "SELECT $1"));
        assert_eq!(row.blocker.state, BlockerState::IdleInTransaction);
        assert_eq!(row.blocker.query.as_deref(), Some("UPDATE t SET a = $1"));
    }

    #[test]
    fn too_many_wake_ups_keep_the_longest() {
        let mut pending = Pending::default();
        (0..1_000).for_each(|n| pending.push(wake(LWLOCK, n, 0)));
        assert_eq!(pending.0.len(), MAX_PENDING);
        assert!(pending.0.iter().any(|kept| kept.waited_ns == 999));
    }
}
