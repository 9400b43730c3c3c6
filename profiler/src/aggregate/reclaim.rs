//! Memory that backends had to free themselves, by role and statement class, and by backend.
//!
//! What a statement freed comes in a record of its own before that of the statement. What was freed outside statements is
//! cumulative, in the backend's state and at its exit. A parallel worker has no statement of its own: what it freed goes to
//! that of its leader in which the worker ended.

use std::collections::{BTreeMap, HashMap};

use pgstrobe_common::{
    reclaim::{
        BackendReclaim, RECLAIM_CGROUP, RECLAIM_HOST, RECLAIM_KINDS, RECLAIM_OUTSIDE, ReclaimSum, ReclaimSums,
        Reclaimed,
    },
    record::Finished,
    state::{BACKEND_OPEN, Backend as KernelBackend},
};

use serde::{Deserialize, Serialize};

use super::{
    Aggregate, MAX_BACKENDS,
    account::{Account, Names},
    pids::Pids,
    queries::ClassKey,
};
use crate::{kernel::vm::page_bytes, postgres::backend::Role, report::model, time::Merge};

/// Pairs of role and class kept apart.
const MAX_GROUPS: usize = 1_000;
/// Workers of one leader that wait for their statement's class.
const MAX_WORKERS: usize = 1_000;

/// A text's number, where it was in a statement.
type Key = (Role, Option<u32>);

/// Those of a stretch of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Reclaims {
    groups: HashMap<Key, Group>,
    /// Of statements that were open at the end, by what they are: role, text.
    open: BTreeMap<(Role, Option<String>), Group>,
    backends: BTreeMap<u32, (Role, ReclaimSums)>,
}

/// What goes on from one stretch to the next.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Going {
    /// What of a live process is in accounts: outside statements, and of the statement that was open.
    reported: HashMap<u32, Reported>,
    /// Of workers that ended, by leader: when, and what they freed.
    workers: HashMap<u32, Vec<(u64, Group)>>,
}

#[derive(Clone, Copy, Default)]
struct Reported {
    outside: ReclaimSums,
    start_ns: u64,
    inside: ReclaimSums,
    /// Start of the last statement whose record has come.
    ended_start_ns: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Group {
    pids: Pids,
    sums: ReclaimSums,
}

fn add(to: &mut ReclaimSums, from: &ReclaimSums) {
    to.iter_mut().zip(from).for_each(|(to, from)| to.add(from));
}

fn since(now: &ReclaimSums, before: &ReclaimSums) -> ReclaimSums {
    std::array::from_fn(|kind| now[kind].since(&before[kind]))
}

fn is_empty(sums: &ReclaimSums) -> bool {
    sums.iter().all(|sum| sum.count == 0)
}

impl Group {
    fn one(pid: u32, sums: ReclaimSums) -> Self {
        Self { pids: Pids::of(pid), sums }
    }

    fn merge(&mut self, other: &Self) {
        add(&mut self.sums, &other.sums);
        self.pids.merge(&other.pids);
    }
}

impl Reclaims {
    fn enter(&mut self, mut key: Key, group: &Group) {
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            key = (Role::Other, None);
        }
        self.groups.entry(key).or_default().merge(group);
    }

    fn open(&mut self, key: (Role, Option<String>), group: &Group) {
        let room = self.open.len() < MAX_GROUPS || self.open.contains_key(&key);
        self.open.entry(if room { key } else { (Role::Other, None) }).or_default().merge(group);
    }

    /// Of one backend, wherever it was.
    fn of_backend(&mut self, pid: u32, role: Role, sums: &ReclaimSums) {
        let full = self.backends.len() >= MAX_BACKENDS && !self.backends.contains_key(&pid);
        let (pid, role) = if full { (0, Role::Other) } else { (pid, role) };
        let entry = self.backends.entry(pid).or_default();
        entry.0 = role;
        add(&mut entry.1, sums);
    }
}

impl Merge for Reclaims {
    fn merge(&mut self, later: Self) {
        for (key, group) in later.groups {
            self.enter(key, &group);
        }
        for (key, group) in later.open {
            self.open(key, &group);
        }
        for (pid, (role, sums)) in later.backends {
            self.of_backend(pid, role, &sums);
        }
    }
}

impl Aggregate {
    /// What a statement freed, or a process outside statements until its exit.
    pub fn reclaimed(&mut self, record: &Reclaimed) {
        let pid = record.header.pid;
        let identity = self.identity(pid);
        let role = identity.map_or(Role::Unknown, |identity| identity.role);
        let leader = identity.filter(|one| one.role == Role::ParallelWorker).and_then(|one| one.leader);
        if record.flags & RECLAIM_OUTSIDE != 0 {
            let before = self.reclaim.reported.remove(&pid).unwrap_or_default();
            let sums = since(&record.sums, &before.outside);
            if !is_empty(&sums) {
                self.account.reclaims.of_backend(pid, role, &sums);
                let group = Group::one(pid, sums);
                match leader {
                    Some(leader) => self.leave_reclaim(leader, record.header.ts_ns, role, group),
                    None => self.account.reclaims.enter((role, None), &group),
                }
            }
            return;
        }
        let reported = self.reclaim.reported.entry(pid).or_default();
        reported.ended_start_ns = record.start_ns;
        let before = if reported.start_ns == record.start_ns { reported.inside } else { ReclaimSums::default() };
        let sums = since(&record.sums, &before);
        if is_empty(&sums) {
            return;
        }
        self.account.reclaims.of_backend(pid, role, &sums);
        let class = Finished { class_key: record.class_key, flags: record.flags, ..Finished::default() };
        let Some(backend) = self.live.get_mut(&pid) else {
            return self.account.reclaims.enter((role, None), &Group::one(pid, sums));
        };
        let queries = &mut self.account.queries;
        let place = queries.place(backend.owner, &mut backend.last_class, &class, &mut self.texts);
        self.account.reclaims.enter((role, Some(place.class.0)), &Group::one(pid, sums));
    }

    /// A worker's account waits for the class of its leader's statement.
    fn leave_reclaim(&mut self, leader: u32, ended_ns: u64, role: Role, group: Group) {
        let waiting = self.reclaim.workers.entry(leader).or_default();
        if waiting.len() < MAX_WORKERS && self.live.contains_key(&leader) {
            return waiting.push((ended_ns, group));
        }
        self.account.reclaims.enter((role, None), &group);
    }

    /// A process is gone, and what its workers left finds no class any more.
    pub(super) fn forget_reclaim(&mut self, pid: u32) {
        self.reclaim.reported.remove(&pid);
        for (_, group) in self.reclaim.workers.remove(&pid).unwrap_or_default() {
            self.account.reclaims.enter((Role::ParallelWorker, None), &group);
        }
    }

    /// A statement that slept has ended, and has a class.
    pub(super) fn claim_reclaim(&mut self, pid: u32, finished: &Finished, class: ClassKey) {
        if self.reclaim.workers.is_empty() {
            return;
        }
        for (ended_ns, group) in self.reclaim.workers.remove(&pid).unwrap_or_default() {
            let its = (finished.start_ns..=finished.end_ns).contains(&ended_ns);
            self.account.reclaims.enter((Role::ParallelWorker, its.then_some(class.0)), &group);
        }
    }

    /// The state of a live backend at the end of the profile, or of an interval.
    pub fn settle_reclaim(&mut self, pid: u32, state: &KernelBackend) {
        let BackendReclaim { inside, outside, .. } = &state.reclaim;
        if is_empty(inside) && is_empty(outside) {
            return;
        }
        let Some(identity) = self.identity(pid) else { return };
        let role = identity.role;
        let leader = identity.leader;
        let reported = self.reclaim.reported.entry(pid).or_default();
        let gained = since(outside, &reported.outside);
        reported.outside = *outside;
        let mut open = ReclaimSums::default();
        if state.flags & BACKEND_OPEN != 0 && state.start_ns != reported.ended_start_ns {
            let before = if reported.start_ns == state.start_ns { reported.inside } else { ReclaimSums::default() };
            (reported.start_ns, reported.inside) = (state.start_ns, *inside);
            open = since(inside, &before);
        }
        let text = |account: &Account, pid| account.open(pid).and_then(|open| open.query.clone());
        if !is_empty(&gained) {
            self.account.reclaims.of_backend(pid, role, &gained);
            match leader.and_then(|leader| text(&self.account, leader)) {
                Some(text) => self.account.reclaims.open((role, Some(text)), &Group::one(pid, gained)),
                None => self.account.reclaims.enter((role, None), &Group::one(pid, gained)),
            }
        }
        if !is_empty(&open) {
            let text = text(&self.account, pid).unwrap_or_else(|| "(text not known)".into());
            self.account.reclaims.of_backend(pid, role, &open);
            self.account.reclaims.open((role, Some(text)), &Group::one(pid, open));
        }
    }

    /// The account is closed: what workers left for statements that are still open is told by their texts.
    pub(super) fn close_reclaim(&mut self) {
        for (leader, groups) in self.reclaim.workers.drain() {
            let query = self.account.open(leader).and_then(|open| open.query.clone());
            for (_, group) in groups {
                self.account.reclaims.open((Role::ParallelWorker, query.clone()), &group);
            }
        }
    }
}

impl Account {
    pub(super) fn fill_reclaim(&self, names: Names<'_>, into: &mut model::Memory) {
        let reclaims = &self.reclaims;
        let mut all = ReclaimSums::default();
        reclaims.backends.values().for_each(|(_, sums)| add(&mut all, sums));
        (into.host, into.cgroup) = (model_of(&all[RECLAIM_HOST]), model_of(&all[RECLAIM_CGROUP]));
        let mut by: BTreeMap<(Role, Option<String>), Group> = BTreeMap::new();
        for ((role, text), group) in &reclaims.groups {
            by.entry((*role, text.map(|text| names.text(text)))).or_default().merge(group);
        }
        for (key, group) in &reclaims.open {
            by.entry(key.clone()).or_default().merge(group);
        }
        into.by = by
            .into_iter()
            .map(|((role, query), group)| model::ReclaimBy {
                role: role.into(),
                query,
                pids: group.pids.model(),
                host: model_of(&group.sums[RECLAIM_HOST]),
                cgroup: model_of(&group.sums[RECLAIM_CGROUP]),
            })
            .collect();
        into.by.sort_by(|a, b| (b.total_ns(), &a.role, &a.query).cmp(&(a.total_ns(), &b.role, &b.query)));
        into.backends = reclaims
            .backends
            .iter()
            .map(|(pid, (role, sums))| model::ReclaimBackend {
                pid: *pid,
                role: (*role).into(),
                host: model_of(&sums[RECLAIM_HOST]),
                cgroup: model_of(&sums[RECLAIM_CGROUP]),
            })
            .collect();
        into.backends.sort_by_key(|one| (std::cmp::Reverse(one.host.total_ns + one.cgroup.total_ns), one.pid));
    }
}

const _: () = assert!(RECLAIM_KINDS == 2);

fn model_of(sum: &ReclaimSum) -> model::Reclaim {
    model::Reclaim {
        count: sum.count,
        total_ns: sum.ns,
        cpu_ns: sum.cpu_ns,
        max_ns: sum.max_ns,
        freed_bytes: sum.pages * page_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::{
        ledger::Ledger as KernelLedger,
        record::{Exit, Header, STATEMENT_QUERY_ID},
    };

    use super::*;
    use crate::{postgres::backend::Identity, report::model::Report};

    fn sums(kind: usize, ns: u64) -> ReclaimSums {
        let mut sums = ReclaimSums::default();
        sums[kind] = ReclaimSum { count: ns / 50, ns, cpu_ns: ns / 2, max_ns: ns - 1, pages: 64 };
        sums
    }

    fn record(pid: u32, start_ns: u64, flags: u32, ts_ns: u64, sums: ReclaimSums) -> Reclaimed {
        let header = Header::of::<Reclaimed>(0, pid, ts_ns);
        Reclaimed { header, class_key: 1, start_ns, flags, _pad: 0, sums }
    }

    fn aggregate() -> Aggregate {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        for (pid, role, leader) in [(7, Role::ClientBackend, None), (8, Role::ParallelWorker, Some(7))] {
            aggregate.appear(pid, None);
            aggregate.identify(pid, Identity { leader, ..Identity::of(role) });
        }
        aggregate.text(1, true, b"SELECT a FROM t", false, true);
        aggregate
    }

    fn memory(aggregate: &Aggregate) -> model::Memory {
        let mut report = Report::default();
        aggregate.fill(&mut report);
        report.memory
    }

    #[test]
    fn a_worker_frees_memory_for_the_statement_of_its_leader() {
        let mut aggregate = aggregate();
        aggregate.reclaimed(&record(8, 0, RECLAIM_OUTSIDE, 1_500, sums(RECLAIM_CGROUP, 500)));
        aggregate.exit(&Exit { header: Header { pid: 8, ..Header::default() }, ..Exit::default() });
        aggregate.reclaimed(&record(7, 1_000, STATEMENT_QUERY_ID, 2_000, sums(RECLAIM_HOST, 300)));
        let flags = STATEMENT_QUERY_ID;
        let finished = Finished { start_ns: 1_000, end_ns: 2_000, class_key: 1, flags, ..Finished::default() };
        aggregate.statement(7, &finished, Some(&KernelLedger::default()));
        let memory = memory(&aggregate);
        let rows: Vec<_> = memory.by.iter().map(|by| (by.role.as_str(), by.query.as_deref(), by.total_ns())).collect();
        let text = Some("SELECT a FROM t");
        assert_eq!(rows, [("parallel worker", text, 500), ("client backend", text, 300)]);
        assert_eq!((memory.cgroup.count, memory.cgroup.cpu_ns, memory.host.max_ns), (10, 250, 299));
        assert_eq!(memory.host.freed_bytes, 64 * page_bytes());
        assert_eq!(memory.backends.len(), 2);
        assert!(aggregate.reclaim.workers.is_empty() && aggregate.reclaim.reported.len() == 1);
        aggregate.exit(&Exit { header: Header { pid: 7, ..Header::default() }, ..Exit::default() });
        assert!(aggregate.reclaim.reported.is_empty());
    }

    #[test]
    fn nothing_is_reported_twice() {
        let mut aggregate = aggregate();
        let reclaim = BackendReclaim {
            inside: sums(RECLAIM_HOST, 300),
            outside: sums(RECLAIM_CGROUP, 100),
            ..Default::default()
        };
        let mut state = KernelBackend { pid: 7, flags: BACKEND_OPEN, start_ns: 1_000, reclaim, ..Default::default() };
        aggregate.settle_reclaim(7, &state);
        let first = memory(&aggregate);
        assert_eq!((first.host.total_ns, first.cgroup.total_ns), (300, 100));
        assert_eq!(first.by[0].query.as_deref(), Some("(text not known)"));
        aggregate.forget();
        aggregate.settle_reclaim(7, &state);
        assert_eq!(memory(&aggregate), model::Memory::default());
        // The statement goes on, and ends.
        aggregate.reclaimed(&record(7, 1_000, STATEMENT_QUERY_ID, 2_000, sums(RECLAIM_HOST, 700)));
        // The state was read before that.
        state.reclaim.inside = sums(RECLAIM_HOST, 700);
        aggregate.settle_reclaim(7, &state);
        assert_eq!(memory(&aggregate).host.total_ns, 400);
        aggregate.forget();
        aggregate.reclaimed(&record(7, 0, RECLAIM_OUTSIDE, 3_000, sums(RECLAIM_CGROUP, 150)));
        assert_eq!(memory(&aggregate).cgroup.total_ns, 50);
    }
}
