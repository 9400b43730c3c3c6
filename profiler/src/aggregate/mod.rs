//! Folds records into histograms and ledgers, by backend, statement class and role.
//!
//! What goes on from one moment to the next is here: which processes live, what waits for the end of its statement, which text is
//! which class. What happened meanwhile is an [`Account`], which is cut off whenever one is due.

mod account;
mod aio;
mod batch;
mod blocking;
mod build;
mod checkpoints;
mod faults;
mod io;
mod numbered;
mod outside;
mod pauses;
mod pids;
mod process;
mod queries;
mod reclaim;
mod samples;
mod shares;
mod slowest;
#[cfg(test)]
mod splits;
mod statement;
mod syncs;
mod tail;
mod texts;
mod wakes;
mod workers;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
};

use pgstrobe_common::{
    ledger::{Ledger as KernelLedger, SAMPLES, Sample},
    record::{Exit, IdleInTransaction},
};

use account::Owner;
pub use account::{Account, Names};
pub use blocking::{Ended, Sight, Standing, Waits};
use checkpoints::Checkpoints;
pub use checkpoints::{MAX_CHECKPOINTS, Phases};
use numbered::Numbered;
use process::Process;
use queries::LastClass;
use rustc_hash::FxHashMap;
pub(crate) use syncs::path_of;
use texts::Texts;
use workers::Workers;

use crate::{
    ledger::Ledger,
    postgres::{
        backend::{Identity, Role},
        relation::RelationFile,
    },
    report::model::Blocker,
};

/// Backends kept apart, those that ended included.
pub const MAX_BACKENDS: usize = 10_000;
/// Statement classes kept apart, per database and user.
pub const MAX_CLASSES: usize = 5_000;
/// Rows of the fsync table kept apart.
const MAX_SYNC_FILES: usize = 20_000;

/// What is known of a server, and the account of the stretch of time under way.
#[cfg_attr(test, derive(Clone))]
pub struct Aggregate {
    major: u32,
    data_directory: PathBuf,
    live: FxHashMap<u32, Backend>,
    /// Roles of those that ended, by pid, since an account was last closed.
    ended_roles: VecDeque<(u32, Role)>,
    /// Of the last process.
    serial: u64,
    texts: Texts,
    /// Databases and users, by pair.
    owners: Numbered<Owner>,
    owner_index: HashMap<Owner, u32>,
    account: Account,
    /// Files of relations that were synced for the first time since the last tick.
    new_files: Vec<RelationFile>,
    checkpoints: Checkpoints,
    blocking: blocking::Blocking,
    /// Of statements that have not ended, by pid.
    pauses: HashMap<u32, pauses::Pending>,
    aio: HashMap<u32, aio::Pending>,
    reclaim: reclaim::Going,
}

/// A process of the server that lives.
#[cfg_attr(test, derive(Clone))]
struct Backend {
    process: Process,
    owner: u32,
    /// What of the kernel's outside ledger belongs to earlier accounts.
    settled: (u64, KernelLedger),
    settled_idle: IdleInTransaction,
    settled_samples: [Sample; SAMPLES],
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
    /// Of a parallel worker: time outside in earlier accounts.
    outside_before: Ledger,
    /// Its exit.
    ended_ns: u64,
}

/// The process of that number, entered if it is new.
fn known<'a>(live: &'a mut FxHashMap<u32, Backend>, serial: &mut u64, pid: u32) -> &'a mut Backend {
    live.entry(pid).or_insert_with(|| Backend::new(pid, serial))
}

impl Aggregate {
    pub fn new(major: u32, data_directory: PathBuf, show_literals: bool) -> Self {
        Self {
            major,
            data_directory,
            live: FxHashMap::default(),
            ended_roles: VecDeque::new(),
            serial: 0,
            texts: Texts::new(show_literals),
            owners: Numbered::with([(None, None)]),
            owner_index: HashMap::from([((None, None), 0)]),
            account: Account::default(),
            new_files: Vec::new(),
            checkpoints: Checkpoints::default(),
            blocking: blocking::Blocking::default(),
            pauses: HashMap::new(),
            aio: HashMap::new(),
            reclaim: reclaim::Going::default(),
        }
    }

    /// The profile begins: of the clock of the records.
    pub fn begins(&mut self, now_ns: u64) {
        self.account.from_ns = now_ns;
    }

    pub fn began_ns(&self) -> u64 {
        self.account.from_ns
    }

    /// Closes the account at this moment, and begins the next one. What live processes have not sent is to be settled before.
    pub fn cut(&mut self, now_ns: u64) -> Account {
        self.close_checkpoints();
        self.close_blocking();
        self.close_pauses();
        self.close_aio();
        self.close_reclaim();
        let next = Account::beginning(now_ns, self.account.queries.next());
        let mut account = std::mem::replace(&mut self.account, next);
        (account.to_ns, account.last_serial) = (now_ns, self.serial);
        account.waiting_workers = self.waiting_workers();
        for backend in self.live.values_mut() {
            backend.keep_for_leader();
            account.enter(backend.process.cut(), MAX_BACKENDS);
        }
        account.processes.sort_unstable_by_key(|process| process.serial);
        self.ended_roles.clear();
        self.texts.close(now_ns);
        self.owners.close(now_ns);
        self.live.values().for_each(|backend| self.owners.touch(backend.owner));
        account
    }

    /// Closes the account for nobody; its beginning stays.
    pub fn forget(&mut self) {
        self.cut(self.account.from_ns);
    }

    /// What the numbers in its accounts stand for.
    pub fn names(&self) -> Names<'_> {
        Names { texts: &self.texts, owners: &self.owners, major: self.major }
    }

    /// Statement classes of which the kernel side knows the text.
    pub fn class_keys(&self) -> usize {
        self.texts.keys()
    }

    /// Whether [`Aggregate::age`] is due, where the kernel side has room for so many keys of this server.
    pub fn is_crowded(&self, room: usize) -> bool {
        self.texts.is_crowded(room) || self.owners.len() > MAX_CLASSES / 2
    }

    /// Forgets classes and owners that nobody has used for long, and returns the keys that the kernel side is to forget; `in_hand`
    /// are those that backends have.
    pub fn age(&mut self, now_ns: u64, room: usize, in_hand: &HashSet<u64>) -> Vec<u64> {
        let unused: Vec<u32> = self.owners.unused(1, now_ns).collect();
        for owner in unused {
            if let Some(owner) = self.owners.remove(owner) {
                self.owner_index.remove(&owner);
            }
        }
        let forget = self.texts.age(now_ns, room, in_hand);
        self.account.queries.texts_changed();
        forget
    }

    /// A process of the cluster exists; in the server's own pid namespace it may have another number.
    pub fn appear(&mut self, pid: u32, namespace_pid: Option<u32>) {
        let mut backend = Backend::new(pid, &mut self.serial);
        backend.process.namespace_pid = namespace_pid;
        if let Some(before) = self.live.insert(pid, backend) {
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
            backend.process.identity = identity;
        }
    }

    pub fn identity(&self, pid: u32) -> Option<&Identity> {
        self.live.get(&pid).map(|backend| &backend.process.identity)
    }

    /// The roles of all processes, those that ended since an account was last closed included.
    pub fn roles_by_pid(&self) -> HashMap<u32, Role> {
        let live = self.live.values().map(|backend| (backend.process.pid, backend.process.identity.role));
        // A number that is in use again is that of the one that lives.
        self.ended_roles.iter().copied().chain(live).collect()
    }

    /// Live processes.
    pub fn live(&self) -> impl Iterator<Item = u32> + '_ {
        self.live.keys().copied()
    }

    /// A connection became ready for statements, `wall_ns` after accounting of it began; `startup_ns` after its fork, where
    /// that was seen.
    pub fn ready(&mut self, pid: u32, startup_ns: Option<u64>, wall_ns: u64, ledger: &KernelLedger) {
        if let Some(backend) = self.live.get_mut(&pid) {
            backend.process.startup_ns = startup_ns;
            // What an earlier account took for time outside is the beginning of the start-up.
            let (before_ns, before) = std::mem::take(&mut backend.settled);
            backend.process.startup.gain(wall_ns.saturating_sub(before_ns), ledger, &before);
        }
    }

    /// A class's text.
    pub fn text(&mut self, key: u64, query_id: bool, bytes: &[u8], cut: bool, full: bool) {
        self.texts.learn(key, query_id, bytes, cut, full);
        self.account.queries.texts_changed();
    }

    /// A process ended; what it did outside statements is in the record.
    pub fn exit(&mut self, exit: &Exit) {
        if let Some(mut backend) = self.live.remove(&exit.header.pid) {
            backend.settle_outside(exit.outside_ns, &exit.outside, &exit.idle, &exit.samples);
            backend.process.alive = false;
            self.leave_to_leader(&mut backend);
            self.forget_reclaim(exit.header.pid);
            self.end(backend);
        }
    }

    /// Statements counted since an account was last closed, those that began before the profile left out.
    pub fn statements(&self) -> u64 {
        self.account.count
    }

    fn owner(&mut self, database: Option<String>, user: Option<String>) -> u32 {
        let key = (database, user);
        if let Some(&owner) = self.owner_index.get(&key) {
            self.owners.touch(owner);
            return owner;
        }
        if self.owners.len() >= MAX_CLASSES {
            return 0;
        }
        let owner = self.owners.add(key.clone());
        self.owner_index.insert(key, owner);
        owner
    }

    fn end(&mut self, backend: Backend) {
        if self.ended_roles.len() >= MAX_BACKENDS {
            self.ended_roles.pop_front();
        }
        self.ended_roles.push_back((backend.process.pid, backend.process.identity.role));
        self.account.enter(backend.process, MAX_BACKENDS.saturating_sub(self.live.len()));
    }
}

#[cfg(test)]
impl Aggregate {
    /// What a report would have now.
    fn fill(&self, report: &mut crate::report::model::Report) {
        let account = self.clone().cut(self.account.from_ns);
        account.fill(self.names(), report);
    }
}

impl Backend {
    fn new(pid: u32, serial: &mut u64) -> Self {
        *serial += 1;
        Self {
            process: Process::new(pid, *serial),
            owner: 0,
            settled: (0, KernelLedger::default()),
            settled_idle: IdleInTransaction::default(),
            settled_samples: Default::default(),
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
