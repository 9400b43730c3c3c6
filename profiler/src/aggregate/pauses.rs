//! Pauses of writers (`balance_dirty_pages`), by role and statement class.
//!
//! The record of a pause comes before that of its statement, so it is kept until that tells the class.

use std::collections::{BTreeMap, HashMap};

use pgstrobe_common::record::Pause;

use super::{Aggregate, queries::ClassKey};
use crate::vocabulary::Role;
use crate::{
    hist::Histogram,
    kernel::{device, vm::page_bytes},
    report::model,
};

/// Pairs of role and class kept apart.
const MAX_GROUPS: usize = 1_000;
/// The longest pauses kept, in all and of each open statement.
const LONGEST: usize = 20;
/// Backends named in a row.
const MAX_PIDS: usize = 100;
/// Seconds kept apart; what is later goes to the last one.
const MAX_SECONDS: u64 = 100_000;

/// A text's number, where the pause was in a statement.
type Key = (Role, Option<u32>);

#[derive(Default)]
pub(super) struct Pauses {
    /// Of statements that have not ended, by pid.
    pending: HashMap<u32, Pending>,
    groups: HashMap<Key, Group>,
    longest: Vec<(Key, Pause)>,
    seconds: BTreeMap<u64, (u64, u64)>,
}

struct Pending {
    start_ns: u64,
    role: Role,
    group: Group,
    longest: Vec<Pause>,
}

#[derive(Default)]
struct Group {
    pids: Vec<u32>,
    latency: Histogram,
}

impl Group {
    fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        for pid in &other.pids {
            if self.pids.len() < MAX_PIDS && !self.pids.contains(pid) {
                self.pids.push(*pid);
            }
        }
    }

    fn one(pause: &Pause) -> Self {
        let mut group = Self { pids: vec![pause.header.pid], ..Self::default() };
        group.latency.record(pause.paused_ns);
        group
    }
}

/// Keeps the longest.
fn keep<T>(list: &mut Vec<T>, one: T, ns: impl Fn(&T) -> u64) {
    let at = list.partition_point(|kept| ns(kept) >= ns(&one));
    if at < LONGEST {
        list.insert(at, one);
        list.truncate(LONGEST);
    }
}

impl Pauses {
    /// What was reported is forgotten; a statement that is still open keeps nothing of the interval before.
    pub fn next_interval(&mut self) {
        *self = Self::default();
    }

    fn add(&mut self, mut key: Key, group: &Group, longest: impl IntoIterator<Item = Pause>) {
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            key = (Role::Other, None);
        }
        self.groups.entry(key).or_default().merge(group);
        for pause in longest {
            keep(&mut self.longest, (key, pause), |kept| kept.1.paused_ns);
        }
    }
}

impl Aggregate {
    /// A backend was made to pause, and goes on.
    pub fn pause(&mut self, pause: &Pause) {
        let pid = pause.header.pid;
        let second = pause.header.ts_ns.saturating_sub(self.began_ns) / 1_000_000_000;
        let sum = self.pauses.seconds.entry(second.min(MAX_SECONDS)).or_default();
        *sum = (sum.0 + 1, sum.1 + pause.paused_ns);
        let role = self.identity(pid).map_or(Role::Unknown, |identity| identity.role);
        if pause.start_ns == 0 {
            return self.pauses.add((role, None), &Group::one(pause), [*pause]);
        }
        if self.pauses.pending.get(&pid).is_some_and(|pending| pending.start_ns != pause.start_ns) {
            // The end of that statement was not seen: it has no class.
            self.leave_pauses(pid);
        }
        let pending = self.pauses.pending.entry(pid).or_insert_with(|| Pending {
            start_ns: pause.start_ns,
            role,
            group: Group::default(),
            longest: Vec::new(),
        });
        pending.group.merge(&Group::one(pause));
        keep(&mut pending.longest, *pause, |kept| kept.paused_ns);
    }

    /// The statement that was made to pause has ended, and has a class.
    pub(super) fn claim_pauses(&mut self, pid: u32, start_ns: u64, class: ClassKey) {
        if self.pauses.pending.is_empty() {
            return;
        }
        if self.pauses.pending.get(&pid).is_some_and(|pending| pending.start_ns != start_ns) {
            return self.leave_pauses(pid);
        }
        if let Some(pending) = self.pauses.pending.remove(&pid) {
            self.pauses.add((pending.role, Some(class.0)), &pending.group, pending.longest);
        }
    }

    fn leave_pauses(&mut self, pid: u32) {
        if let Some(pending) = self.pauses.pending.remove(&pid) {
            self.pauses.add((pending.role, None), &pending.group, pending.longest);
        }
    }

    pub(super) fn fill_pauses(&self, into: &mut model::Pauses) {
        let query = |key: &Key| key.1.map(|text| self.texts.get(text).text.clone());
        let mut all = Histogram::new();
        let mut by: Vec<model::PausedBy> = Vec::new();
        let mut longest: Vec<model::Pause> =
            self.pauses.longest.iter().map(|(key, pause)| self.pause_model(pause, key.0, query(key))).collect();
        let ended = self.pauses.groups.iter().map(|(key, group)| (key.0, query(key), group));
        let open = self.pauses.pending.iter().map(|(pid, pending)| {
            let open = self.unfinished.iter().find(|open| open.pid == *pid);
            let query = open.and_then(|open| open.query.clone());
            longest.extend(pending.longest.iter().map(|pause| self.pause_model(pause, pending.role, query.clone())));
            (pending.role, query, &pending.group)
        });
        for (role, query, group) in ended.chain(open) {
            all.merge(&group.latency);
            by.push(model::PausedBy {
                role: role.into(),
                query,
                pids: group.pids.clone(),
                total_ns: group.latency.sum(),
                latency: group.latency.summary(),
            });
        }
        by.sort_by(|a, b| (b.total_ns, &a.query, &a.role).cmp(&(a.total_ns, &b.query, &b.role)));
        longest.sort_by_key(|pause| (std::cmp::Reverse(pause.paused_ns), pause.began_ns));
        longest.truncate(LONGEST);
        let seconds = self.pauses.seconds.clone();
        *into = model::Pauses { total_ns: all.sum(), latency: all.summary(), by, longest, seconds };
    }

    fn pause_model(&self, pause: &Pause, role: Role, query: Option<String>) -> model::Pause {
        let page = page_bytes();
        let limits = &pause.limits;
        model::Pause {
            pid: pause.header.pid,
            role: role.into(),
            query,
            began_ns: pause.header.ts_ns.saturating_sub(self.began_ns),
            paused_ns: pause.paused_ns,
            device: device::text(&limits.device),
            device_name: None,
            dirty_bytes: limits.dirty * page,
            background_limit_bytes: limits.background * page,
            limit_bytes: limits.limit * page,
            device_dirty_bytes: limits.device_dirty * page,
            device_limit_bytes: limits.device_limit * page,
            allowed_bytes_per_second: limits.rate.saturating_mul(page),
        }
    }
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::{
        ledger::Ledger as KernelLedger,
        record::{Finished, Header, STATEMENT_QUERY_ID},
        writeback::DirtyLimits,
    };

    use super::*;
    use crate::report::model::Report;

    fn pause(start_ns: u64, at: u64, ms: u64) -> Pause {
        let mut limits = DirtyLimits { dirty: 100, limit: 120, background: 60, rate: 10, ..DirtyLimits::default() };
        limits.device[..3].copy_from_slice(b"7:0");
        Pause { header: Header::of::<Pause>(0, 7, at), start_ns, paused_ns: ms * 1_000_000, limits }
    }

    fn aggregate() -> Aggregate {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        aggregate.appear(7, None);
        aggregate.text(1, true, b"COPY t FROM STDIN", false, true);
        aggregate
    }

    #[test]
    fn pauses_belong_to_the_class_of_their_statement() {
        let mut aggregate = aggregate();
        aggregate.pause(&pause(1_000, 2_000, 200));
        aggregate.pause(&pause(1_000, 3_000_000_000, 100));
        // Outside a statement.
        aggregate.pause(&pause(0, 4_000_000_000, 20));
        let finished =
            Finished { start_ns: 1_000, end_ns: 9_000, class_key: 1, flags: STATEMENT_QUERY_ID, ..Finished::default() };
        aggregate.statement(7, &finished, Some(&KernelLedger::default()));
        let mut report = Report::default();
        aggregate.fill(&mut report);
        let pauses = &report.storage.writeback.pauses;
        assert_eq!((pauses.latency.count, pauses.by.len()), (3, 2));
        let by = &pauses.by[0];
        assert_eq!(
            (by.query.as_deref(), by.latency.count, by.latency.max),
            (Some("COPY t FROM STDIN"), 2, 200_000_000)
        );
        assert_eq!(pauses.by[1].query, None);
        let worst = &pauses.longest[0];
        assert_eq!((worst.device.as_str(), worst.paused_ns), ("7:0", 200_000_000));
        assert_eq!((worst.dirty_bytes, worst.limit_bytes), (100 * page_bytes(), 120 * page_bytes()));
        assert_eq!(pauses.seconds[&0], (1, 200_000_000));
        assert_eq!(pauses.seconds.len(), 3);
        aggregate.next_interval();
        let mut report = Report::default();
        aggregate.fill(&mut report);
        assert_eq!(report.storage.writeback.pauses, model::Pauses::default());
    }

    #[test]
    fn an_open_statement_has_its_pauses_too() {
        let mut aggregate = aggregate();
        aggregate.pause(&pause(1_000, 2_000, 200));
        let mut report = Report::default();
        aggregate.fill(&mut report);
        let pauses = &report.storage.writeback.pauses;
        assert_eq!((pauses.by[0].latency.count, pauses.longest.len()), (1, 1));
    }

    #[test]
    fn the_longest_are_kept() {
        let mut list = Vec::new();
        (0..1_000_u64).for_each(|ns| keep(&mut list, ns % 500, |ns| *ns));
        assert_eq!((list.len(), list[0], list[LONGEST - 1]), (LONGEST, 499, 490));
    }
}
