//! Folds records into histograms and ledgers, by backend, statement class and role.
//!
//! Memory is bounded: what does not fit goes to an `other` entry and is counted.

mod batch;
mod blocking;
mod build;
mod checkpoints;
mod io;
mod pauses;
mod queries;
mod samples;
mod shares;
mod slowest;
mod statement;
mod tail;
mod texts;
mod wakes;
mod workers;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use pgstrobe_common::{
    ledger::{Ledger as KernelLedger, Part, SAMPLES, Sample},
    record::{
        Exit, IdleInTransaction, PATH_PART_LEN, PATH_PARTS, SYNC_FDATASYNC, SYNC_FILE_RANGE, SYNC_FSYNC, SYNC_MSYNC,
        SYNC_WRITE, Sync,
    },
    state::{
        BACKEND_IN_TRANSACTION, BACKEND_OFF, BACKEND_OPEN, BACKEND_SLEPT, BACKEND_THROTTLED, Backend as KernelBackend,
    },
};

use crate::{
    hist::Histogram,
    ledger::Ledger,
    postgres::{
        backend::{Identity, Role},
        relation::{self, RelationFile},
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
    /// Of a parallel worker: `outside` of earlier intervals.
    outside_before: Ledger,
    /// Its exit.
    ended_ns: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct SyncKey {
    pid: u32,
    role: &'static str,
    syscall: u32,
    kind: &'static str,
    file: String,
}

#[derive(Default)]
struct Syncs {
    latency: Histogram,
    errors: u64,
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

    /// A process of the cluster exists; in the server's own pid namespace it may have another number.
    pub fn appear(&mut self, pid: u32, namespace_pid: Option<u32>) {
        if let Some(before) = self.live.insert(pid, Backend { namespace_pid, ..Backend::new(pid) }) {
            // Its exit was not seen (a full ring buffer): the number is in use again.
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
            backend.startup.add(wall_ns.saturating_sub(before_ns), &gained(ledger, &before));
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
            self.end(backend);
        }
    }

    /// A synchronising call ended.
    pub fn sync(&mut self, record: &Sync, role: &'static str) {
        let path = path_of(&record.path);
        const S_IFMT: u32 = 0o170000;
        const S_IFDIR: u32 = 0o040000;
        let place = relation::classify(&path, &self.data_directory, record.file_mode & S_IFMT == S_IFDIR);
        let pid = record.header.pid;
        if role == Role::Checkpointer.name() {
            self.checkpoints.synced(record.header.ts_ns, record.duration_ns, &place.file);
        }
        let mut key = SyncKey { pid, role, syscall: record.syscall, kind: place.kind, file: place.file };
        let known = self.syncs.contains_key(&key);
        self.new_files.extend(place.detail.filter(|_| !known && self.new_files.len() < MAX_SYNC_FILES));
        if self.syncs.len() >= MAX_SYNC_FILES && !known {
            *self.folded.entry("files_folded").or_default() += 1;
            key.file = "(other)".into();
            key.pid = 0;
        }
        let backend = self.live.entry(pid).or_insert_with(|| Backend::new(pid));
        for syncs in [self.syncs.entry(key).or_default(), &mut backend.syncs] {
            syncs.latency.record(record.duration_ns);
            syncs.errors += (record.ret < 0) as u64;
        }
    }

    /// Files of relations that are new in the table of syncs since the last call.
    pub fn new_files(&mut self) -> Vec<RelationFile> {
        std::mem::take(&mut self.new_files)
    }

    /// The state of a live backend at the end of the profile, or of an interval. `query` is the text in work.
    pub fn settle(&mut self, pid: u32, state: &KernelBackend, now: u64, query: Option<(Vec<u8>, bool)>, before: bool) {
        let Some(backend) = self.live.get_mut(&pid) else { return };
        let open = state.flags & BACKEND_OPEN != 0;
        let mut inside = state.inside;
        let mut outside = state.outside;
        let current = if open { &mut inside } else { &mut outside };
        // What the kernel side had not split yet, and the sleep that goes on.
        let mut add = |ns: u64| {
            if ns == 0 {
                return;
            }
            if state.flags & BACKEND_SLEPT != 0 {
                add_blocked(current, state.wait_event_info, state.context, ns);
            } else if state.flags & BACKEND_THROTTLED != 0 {
                current.throttled_ns += ns;
            } else {
                current.preempted_ns += ns;
            }
        };
        if state.flags & BACKEND_OFF != 0 {
            add(now.saturating_sub(state.off_ns).saturating_add_signed(state.skew_ns.saturating_neg()));
        } else {
            add(state.away_ns.saturating_add_signed(state.skew_ns.saturating_neg()));
            current.cpu_ns += now.saturating_sub(state.cpu_mark_ns);
        }
        let mut idle = state.idle;
        if !open && state.flags & BACKEND_IN_TRANSACTION != 0 {
            let ns = now.saturating_sub(state.end_ns);
            idle.count += 1;
            idle.total_ns += ns;
            idle.max_ns = idle.max_ns.max(ns);
        }
        let elapsed = if open { now.saturating_sub(state.start_ns) } else { 0 };
        let life = now.saturating_sub(state.since_ns);
        let outside_ns = life.saturating_sub(state.inside_ns).saturating_sub(elapsed);
        backend.settle_outside(outside_ns, &outside, &idle, &state.outside_samples);
        if open && state.start_ns != backend.last_start_ns {
            let mut ledger = Ledger::default();
            ledger.add(elapsed, &inside);
            let owner = backend.owner;
            let query = query.map(|(text, cut)| self.texts.show(&text, cut));
            self.unfinished.push(Open { pid, owner, query, elapsed_ns: elapsed, began_before: before, ledger });
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

impl Syncs {
    fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.errors += other.errors;
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
            outside_before: Ledger::default(),
            ended_ns: 0,
        }
    }

    /// Takes what the kernel side's cumulative outside account has gained since the last report.
    fn settle_outside(
        &mut self,
        outside_ns: u64,
        outside: &KernelLedger,
        idle: &IdleInTransaction,
        samples: &[Sample; SAMPLES],
    ) {
        let (before_ns, before) = std::mem::replace(&mut self.settled, (outside_ns, *outside));
        self.outside.add(outside_ns.saturating_sub(before_ns), &gained(outside, &before));
        let before = std::mem::replace(&mut self.settled_idle, *idle);
        self.idle.count += idle.count.saturating_sub(before.count);
        self.idle.total_ns += idle.total_ns.saturating_sub(before.total_ns);
        self.idle.max_ns = self.idle.max_ns.max(idle.max_ns);
        let before = std::mem::replace(&mut self.settled_samples, *samples);
        for (sample, before) in samples.iter().zip(&before).filter(|(sample, _)| sample.count != 0) {
            *self.samples.entry(sample.wait_event_info).or_default() +=
                sample.count.saturating_sub(before.count) as u64;
        }
    }
}

/// What a cumulative ledger has gained since it was `before`.
fn gained(ledger: &KernelLedger, before: &KernelLedger) -> KernelLedger {
    let mut gained = KernelLedger {
        cpu_ns: ledger.cpu_ns.saturating_sub(before.cpu_ns),
        interrupted_ns: ledger.interrupted_ns.saturating_sub(before.interrupted_ns),
        woken_ns: ledger.woken_ns.saturating_sub(before.woken_ns),
        preempted_ns: ledger.preempted_ns.saturating_sub(before.preempted_ns),
        throttled_ns: ledger.throttled_ns.saturating_sub(before.throttled_ns),
        other_ns: ledger.other_ns.saturating_sub(before.other_ns),
        switches: ledger.switches.saturating_sub(before.switches),
        preemptions: ledger.preemptions.saturating_sub(before.preemptions),
        throttles: ledger.throttles.saturating_sub(before.throttles),
        other_count: ledger.other_count.saturating_sub(before.other_count),
        parts: ledger.parts,
    };
    for part in gained.parts.iter_mut().filter(|part| part.count != 0) {
        let same = |before: &&Part| (before.wait_event_info, before.context) == (part.wait_event_info, part.context);
        if let Some(before) = before.parts.iter().filter(|before| before.count != 0).find(same) {
            part.ns = part.ns.saturating_sub(before.ns);
        }
    }
    gained
}

fn add_blocked(ledger: &mut KernelLedger, event: u32, context: u32, ns: u64) {
    for part in &mut ledger.parts {
        if part.count == 0 || (part.wait_event_info, part.context) == (event, context) {
            part.wait_event_info = event;
            part.context = context;
            part.count += 1;
            part.ns += ns;
            return;
        }
    }
    ledger.other_ns += ns;
    ledger.other_count += 1;
}

/// Names from the file upward, as a path from the root downward.
pub(crate) fn path_of(parts: &[[u8; PATH_PART_LEN]; PATH_PARTS]) -> String {
    let mut names: Vec<_> = parts
        .iter()
        .map(|part| {
            let end = part.iter().position(|&b| b == 0).unwrap_or(part.len());
            String::from_utf8_lossy(&part[..end]).into_owned()
        })
        .take_while(|name| !name.is_empty())
        .collect();
    names.reverse();
    names.join("/")
}

/// Name of a `SYNC_` constant.
fn syscall_name(syscall: u32) -> &'static str {
    match syscall {
        SYNC_FSYNC => "fsync",
        SYNC_FDATASYNC => "fdatasync",
        SYNC_FILE_RANGE => "sync_file_range",
        SYNC_MSYNC => "msync",
        SYNC_WRITE => "write",
        _ => "unknown",
    }
}
