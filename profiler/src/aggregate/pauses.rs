//! Pauses of writers (`balance_dirty_pages`), by role and statement class.
//!
//! The record of a pause comes before that of its statement, so it is kept until that tells the class.

use std::collections::{BTreeMap, HashMap};

use pgstrobe_common::record::Pause;
use serde::{Deserialize, Serialize};

use super::{
    Aggregate,
    account::{Account, Names},
    pids::Pids,
    queries::ClassKey,
};
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
/// Seconds kept apart; what is later goes to the last one.
const MAX_SECONDS: u64 = 100_000;
const SECOND_NS: u64 = 1_000_000_000;

/// A text's number, where the pause was in a statement.
type Key = (Role, Option<u32>);

/// Those of a stretch of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pauses {
    groups: HashMap<Key, Group>,
    /// Of statements that were open at the end, by what they are: role, text.
    open: BTreeMap<(Role, Option<String>), Group>,
    longest: Vec<Longest>,
    /// By second of the stretch: pauses, and their time.
    seconds: BTreeMap<u64, (u64, u64)>,
}

/// One of the longest; `began_ns` is by the clock of the records.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Longest {
    /// Where it is known.
    class: Option<u32>,
    pause: model::Pause,
}

/// Of a statement that has not ended.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Pending {
    start_ns: u64,
    role: Role,
    group: Group,
    longest: Vec<Pause>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Group {
    pids: Pids,
    latency: Histogram,
}

impl Group {
    fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.pids.merge(&other.pids);
    }

    fn one(pause: &Pause) -> Self {
        let mut group = Self { pids: Pids::of(pause.header.pid), ..Self::default() };
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
    fn add(&mut self, mut key: Key, group: &Group, longest: impl IntoIterator<Item = Pause>) {
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            key = (Role::Other, None);
        }
        self.groups.entry(key).or_default().merge(group);
        for pause in longest {
            self.keep(Longest { class: key.1, pause: model_of(&pause, key.0, None) });
        }
    }

    fn keep(&mut self, longest: Longest) {
        keep(&mut self.longest, longest, |kept| kept.pause.paused_ns);
    }

    fn open(&mut self, key: (Role, Option<String>), group: &Group) {
        let room = self.open.len() < MAX_GROUPS || self.open.contains_key(&key);
        self.open.entry(if room { key } else { (Role::Other, None) }).or_default().merge(group);
    }

    /// Adds those of a stretch that began so many nanoseconds after this one.
    pub fn merge_shifted(&mut self, later: Self, shift_ns: u64) {
        for (key, group) in &later.groups {
            self.add(*key, group, []);
        }
        for (key, group) in later.open {
            self.open(key, &group);
        }
        later.longest.into_iter().for_each(|longest| self.keep(longest));
        let shift = (shift_ns + SECOND_NS / 2) / SECOND_NS;
        for (second, (count, ns)) in later.seconds {
            self.second(second + shift, count, ns);
        }
    }

    fn second(&mut self, second: u64, count: u64, ns: u64) {
        let sum = self.seconds.entry(second.min(MAX_SECONDS)).or_default();
        *sum = (sum.0 + count, sum.1 + ns);
    }
}

impl Aggregate {
    /// A backend was made to pause, and goes on.
    pub fn pause(&mut self, pause: &Pause) {
        let pid = pause.header.pid;
        let second = pause.header.ts_ns.saturating_sub(self.account.from_ns) / SECOND_NS;
        self.account.pauses.second(second, 1, pause.paused_ns);
        let role = self.identity(pid).map_or(Role::Unknown, |identity| identity.role);
        if pause.start_ns == 0 {
            return self.account.pauses.add((role, None), &Group::one(pause), [*pause]);
        }
        if self.pauses.get(&pid).is_some_and(|pending| pending.start_ns != pause.start_ns) {
            // The end of that statement was not seen: it has no class.
            self.leave_pauses(pid, None);
        }
        let pending = self.pauses.entry(pid).or_insert_with(|| Pending {
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
        if let Some(pending) = self.pauses.get(&pid) {
            let class = (pending.start_ns == start_ns).then_some(class.0);
            self.leave_pauses(pid, class);
        }
    }

    fn leave_pauses(&mut self, pid: u32, class: Option<u32>) {
        if let Some(pending) = self.pauses.remove(&pid) {
            self.account.pauses.add((pending.role, class), &pending.group, pending.longest);
        }
    }

    /// The account is closed: what statements did that are still open is told by their texts, and forgotten.
    pub(super) fn close_pauses(&mut self) {
        for (pid, pending) in self.pauses.drain() {
            let query = self.account.open(pid).and_then(|open| open.query.clone());
            for pause in &pending.longest {
                let pause = model_of(pause, pending.role, query.clone());
                self.account.pauses.keep(Longest { class: None, pause });
            }
            self.account.pauses.open((pending.role, query), &pending.group);
        }
    }
}

impl Account {
    pub(super) fn fill_pauses(&self, names: Names<'_>, into: &mut model::Pauses) {
        let mut all = Histogram::new();
        let mut by: BTreeMap<(Role, Option<String>), Group> = self.pauses.open.clone();
        for ((role, class), group) in &self.pauses.groups {
            by.entry((*role, class.map(|class| names.text(class)))).or_default().merge(group);
        }
        let mut by: Vec<_> = by
            .into_iter()
            .map(|((role, query), group)| {
                all.merge(&group.latency);
                model::PausedBy {
                    role: role.into(),
                    query,
                    pids: group.pids.model(),
                    total_ns: group.latency.sum(),
                    latency: group.latency.summary(),
                }
            })
            .collect();
        by.sort_by(|a, b| (b.total_ns, &a.query, &a.role).cmp(&(a.total_ns, &b.query, &b.role)));
        let mut longest: Vec<_> = self.pauses.longest.iter().map(|one| one.model(self.from_ns, names)).collect();
        longest.sort_by_key(|pause| (std::cmp::Reverse(pause.paused_ns), pause.began_ns));
        let seconds = self.pauses.seconds.clone();
        *into = model::Pauses { total_ns: all.sum(), latency: all.summary(), by, longest, seconds };
    }
}

impl Longest {
    fn model(&self, from_ns: u64, names: Names<'_>) -> model::Pause {
        let class = self.class.map(|class| names.text(class));
        model::Pause {
            query: class.or_else(|| self.pause.query.clone()),
            began_ns: self.pause.began_ns.saturating_sub(from_ns),
            ..self.pause.clone()
        }
    }
}

fn model_of(pause: &Pause, role: Role, query: Option<String>) -> model::Pause {
    let page = page_bytes();
    let limits = &pause.limits;
    model::Pause {
        pid: pause.header.pid,
        role: role.into(),
        query,
        began_ns: pause.header.ts_ns,
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
        aggregate.forget();
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
