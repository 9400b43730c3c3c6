//! Folds records into histograms and ledgers, by backend, statement class and role.
//!
//! Memory is bounded: what does not fit goes to an `other` entry and is counted.

mod aio;
mod batch;
mod blocking;
mod build;
mod checkpoints;
mod faults;
mod io;
mod outside;
mod pauses;
mod queries;
mod reclaim;
mod samples;
mod shares;
mod slowest;
mod statement;
mod syncs;
mod tail;
mod texts;
mod wakes;
mod workers;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use pgstrobe_common::{
    ledger::{Ledger as KernelLedger, SAMPLES, Sample},
    record::{Exit, IdleInTransaction},
};

use crate::{
    hist::Histogram,
    ledger::Ledger,
    postgres::{
        backend::{Identity, Role},
        relation::RelationFile,
    },
    report::model::Blocker,
};
pub use blocking::{Ended, Sight, Standing, Waits};
use checkpoints::Checkpoints;
pub use checkpoints::{MAX_CHECKPOINTS, Phases};
use queries::{LastClass, Queries};
use rustc_hash::FxHashMap;
use shares::Shares;
use slowest::Slowest;
pub(crate) use syncs::path_of;
use syncs::{SyncKey, Syncs};
use tail::Tail;
use texts::Texts;
use workers::Workers;

/// Backends kept apart, those that ended included.
pub const MAX_BACKENDS: usize = 10_000;
/// Statement classes kept apart, per database and user.
pub const MAX_CLASSES: usize = 5_000;
/// Rows of the fsync table kept apart.
const MAX_SYNC_FILES: usize = 20_000;

/// Everything seen so far.
pub struct Aggregate {
    major: u32,
    data_directory: PathBuf,
    live: FxHashMap<u32, Backend>,
    ended: Vec<Backend>,
    /// Backends past [`MAX_BACKENDS`].
    other_backends: Option<Box<Backend>>,
    texts: Texts,
    /// Databases and users, by pair.
    owners: Vec<(Option<String>, Option<String>)>,
    owner_index: HashMap<(Option<String>, Option<String>), u32>,
    /// All statements are in one of its classes: what they have in all is the sum.
    queries: Queries,
    tail: Tail,
    shares: Shares,
    slowest: Slowest,
    /// Waits for short locks, by the classes of both sides.
    pairs: wakes::Pairs,
    pauses: pauses::Pauses,
    reclaims: reclaim::Reclaims,
    aio: aio::Aio,
    /// When the profile, or its interval, began, by the clock of the records.
    began_ns: u64,
    /// Statements but those in `cut`.
    count: u64,
    /// Parallel workers whose statement will not come.
    unclaimed_workers: u64,
    batches: u64,
    pipelined: u64,
    terminated: u64,
    /// Statements that were running when the profile began: in the ledger, not in the latency.
    cut: u64,
    syncs: HashMap<SyncKey, Syncs>,
    /// Files of relations that were synced for the first time since the last tick.
    new_files: Vec<RelationFile>,
    unfinished: Vec<Open>,
    blocking: blocking::Blocking,
    checkpoints: Checkpoints,
    /// What did not fit, by reason.
    folded: BTreeMap<&'static str, u64>,
}

/// A group of statements.
#[derive(Default)]
struct Class {
    latency: Histogram,
    errors: u64,
    sent_bytes: u64,
    ledger: Ledger,
    /// Wait events it was seen under on a CPU.
    samples: BTreeMap<u32, u64>,
}

/// One process of the cluster.
struct Backend {
    pid: u32,
    namespace_pid: Option<u32>,
    identity: Identity,
    owner: u32,
    class: Class,
    outside: Ledger,
    /// What of the kernel's outside ledger belongs to earlier reports.
    settled: (u64, KernelLedger),
    settled_idle: IdleInTransaction,
    settled_samples: [Sample; SAMPLES],
    startup_ns: Option<u64>,
    startup: Ledger,
    /// `max_ns` is that of its whole life.
    idle: IdleInTransaction,
    /// Wait events it was seen under on a CPU outside statements.
    samples: BTreeMap<u32, u64>,
    syncs: Syncs,
    alive: bool,
    /// Start of its last statement that ended.
    last_start_ns: u64,
    /// Generation of its last batch, and how many statements of that are counted.
    counted: (u32, u32),
    last_class: LastClass,
    /// The longest wait for another backend since its last statement that slept.
    blocked: Option<Box<(u64, Blocker)>>,
    /// Waits that others ended since its last statement.
    wakes: wakes::Pending,
    /// Its parallel workers that ended.
    workers: Workers,
    /// What it read and wrote, of a process without a client that has ended.
    process_io: Option<Box<io::Io>>,
    faults: faults::BackendFaults,
    /// Of a parallel worker: `outside` of earlier intervals.
    outside_before: Ledger,
    /// Its exit.
    ended_ns: u64,
}

/// A statement that did not end.
struct Open {
    pid: u32,
    owner: u32,
    query: Option<String>,
    elapsed_ns: u64,
    began_before: bool,
    ledger: Ledger,
}

impl Aggregate {
    pub fn new(major: u32, data_directory: PathBuf, show_literals: bool) -> Self {
        Self {
            major,
            data_directory,
            live: FxHashMap::default(),
            ended: Vec::new(),
            other_backends: None,
            texts: Texts::new(show_literals),
            owners: vec![(None, None)],
            owner_index: HashMap::from([((None, None), 0)]),
            queries: Queries::default(),
            tail: Tail::default(),
            shares: Shares::default(),
            slowest: Slowest::default(),
            pairs: wakes::Pairs::default(),
            pauses: pauses::Pauses::default(),
            reclaims: reclaim::Reclaims::default(),
            aio: aio::Aio::default(),
            began_ns: 0,
            count: 0,
            unclaimed_workers: 0,
            batches: 0,
            pipelined: 0,
            terminated: 0,
            cut: 0,
            syncs: HashMap::new(),
            new_files: Vec::new(),
            unfinished: Vec::new(),
            blocking: blocking::Blocking::default(),
            checkpoints: Checkpoints::default(),
            folded: BTreeMap::from([
                ("backends_folded", 0),
                ("checkpoints_folded", 0),
                ("classes_folded", 0),
                ("files_folded", 0),
            ]),
        }
    }

    /// The profile, or an interval of it, begins.
    pub fn begins(&mut self, now_ns: u64) {
        self.began_ns = now_ns;
    }

    pub fn began_ns(&self) -> u64 {
        self.began_ns
    }

    /// A process of the cluster exists; in the server's own pid namespace it may have another number.
    pub fn appear(&mut self, pid: u32, namespace_pid: Option<u32>) {
        if let Some(before) = self.live.insert(pid, Backend { namespace_pid, ..Backend::new(pid) }) {
            // Its exit was not seen (a full ring buffer): the number is in use again.
            self.forget_reclaim(pid);
            self.end(before);
        }
    }

    /// Who a process is, as far as it is known now.
    pub fn identify(&mut self, pid: u32, identity: Identity) {
        let owner = self.owner(identity.database.clone(), identity.user.clone());
        if let Some(backend) = self.live.get_mut(&pid) {
            backend.owner = owner;
            backend.identity = identity;
        }
    }

    pub fn identity(&self, pid: u32) -> Option<&Identity> {
        self.live.get(&pid).map(|backend| &backend.identity)
    }

    /// The roles of all processes, those that ended in this interval included.
    pub fn roles_by_pid(&self) -> HashMap<u32, Role> {
        let of = |backend: &Backend| (backend.pid, backend.identity.role);
        // A number that is in use again is that of the one that lives.
        self.ended.iter().chain(self.live.values()).map(of).collect()
    }

    /// Live processes.
    pub fn live(&self) -> impl Iterator<Item = u32> + '_ {
        self.live.keys().copied()
    }

    /// A connection became ready for statements, `wall_ns` after accounting of it began; `startup_ns` after its fork, where
    /// that was seen.
    pub fn ready(&mut self, pid: u32, startup_ns: Option<u64>, wall_ns: u64, ledger: &KernelLedger) {
        if let Some(backend) = self.live.get_mut(&pid) {
            backend.startup_ns = startup_ns;
            // What an earlier report took for time outside is the beginning of the start-up.
            let (before_ns, before) = std::mem::take(&mut backend.settled);
            backend.startup.gain(wall_ns.saturating_sub(before_ns), ledger, &before);
        }
    }

    /// A class's text.
    pub fn text(&mut self, key: u64, query_id: bool, bytes: &[u8], cut: bool, full: bool) {
        self.texts.learn(key, query_id, bytes, cut, full);
        self.queries.texts_changed();
    }

    /// A process ended; what it did outside statements is in the record.
    pub fn exit(&mut self, exit: &Exit) {
        if let Some(mut backend) = self.live.remove(&exit.header.pid) {
            backend.settle_outside(exit.outside_ns, &exit.outside, &exit.idle, &exit.samples);
            backend.alive = false;
            self.leave_to_leader(&mut backend);
            self.forget_reclaim(exit.header.pid);
            self.end(backend);
        }
    }

    /// Forgets what was reported, and keeps who is who: an interval begins.
    pub fn next_interval(&mut self) {
        for backend in self.live.values_mut() {
            backend.keep_for_leader();
            backend.class = Class::default();
            backend.outside = Ledger::default();
            backend.syncs = Syncs::default();
            backend.startup_ns = None;
            backend.startup = Ledger::default();
            backend.idle = IdleInTransaction::default();
            backend.samples.clear();
            backend.faults.sum = Default::default();
        }
        self.ended.clear();
        self.other_backends = None;
        self.queries.clear();
        (self.tail, self.shares, self.slowest) = Default::default();
        (self.count, self.unclaimed_workers) = (0, 0);
        (self.batches, self.pipelined, self.terminated, self.cut) = (0, 0, 0, 0);
        self.syncs.clear();
        self.unfinished.clear();
        self.blocking.next_interval();
        self.checkpoints.next_interval();
        self.pairs.clear();
        self.pauses.next_interval();
        self.reclaims.next_interval();
        self.aio.next_interval();
    }

    /// Statements counted so far, those that began before the profile left out.
    pub fn statements(&self) -> u64 {
        self.count
    }

    /// Statements that were running when the profile began and have ended since.
    pub fn cut_statements(&self) -> u64 {
        self.cut
    }

    fn owner(&mut self, database: Option<String>, user: Option<String>) -> u32 {
        let key = (database, user);
        if let Some(&owner) = self.owner_index.get(&key) {
            return owner;
        }
        if self.owners.len() >= MAX_CLASSES {
            return 0;
        }
        let owner = self.owners.len() as u32;
        self.owners.push(key.clone());
        self.owner_index.insert(key, owner);
        owner
    }

    fn end(&mut self, backend: Backend) {
        if self.live.len() + self.ended.len() < MAX_BACKENDS {
            self.ended.push(backend);
            return;
        }
        *self.folded.entry("backends_folded").or_default() += 1;
        let other = self.other_backends.get_or_insert_with(|| Box::new(Backend::new(0)));
        other.class.merge(&backend.class);
        other.outside.merge(&backend.outside);
        other.syncs.merge(&backend.syncs);
        other.faults.sum.add(backend.faults.sum);
    }
}

impl Class {
    fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.errors += other.errors;
        self.sent_bytes += other.sent_bytes;
        self.ledger.merge(&other.ledger);
        for (event, n) in &other.samples {
            *self.samples.entry(*event).or_default() += n;
        }
    }
}

impl Backend {
    fn new(pid: u32) -> Self {
        Self {
            pid,
            namespace_pid: None,
            identity: Identity::of(Role::Unknown),
            owner: 0,
            class: Class::default(),
            outside: Ledger::default(),
            settled: (0, KernelLedger::default()),
            settled_idle: IdleInTransaction::default(),
            settled_samples: Default::default(),
            startup_ns: None,
            startup: Ledger::default(),
            idle: IdleInTransaction::default(),
            samples: BTreeMap::new(),
            syncs: Syncs::default(),
            alive: true,
            last_start_ns: 0,
            counted: (0, 0),
            last_class: LastClass::default(),
            blocked: None,
            wakes: wakes::Pending::default(),
            workers: Workers::default(),
            process_io: None,
            faults: faults::BackendFaults::default(),
            outside_before: Ledger::default(),
            ended_ns: 0,
        }
    }
}
