//! What one process of a server did in a stretch of time.

use std::collections::BTreeMap;

use pgstrobe_common::{faults::Faults, record::IdleInTransaction};
use serde::{Deserialize, Serialize};

use super::{queries::Class, syncs::Syncs};
use crate::{
    ledger::Ledger,
    postgres::backend::{Identity, Role},
    time::Merge,
};

/// See the module. Who it is stands as it was known at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    /// Tells it from another process of the same number, in all accounts of a server.
    pub serial: u64,
    pub pid: u32,
    /// Its number in the server's own pid namespace, if that is another.
    pub namespace_pid: Option<u32>,
    pub identity: Identity,
    pub alive: bool,
    /// Its statements.
    pub class: Class,
    /// Outside statements.
    pub outside: Ledger,
    /// From its fork until it was ready for statements, where that was seen.
    pub startup_ns: Option<u64>,
    pub startup: Ledger,
    /// `max_ns` is that of its whole life.
    pub idle: IdleInTransaction,
    /// Wait events it was seen under on a CPU outside statements.
    pub samples: BTreeMap<u32, u64>,
    pub syncs: Syncs,
    pub faults: Faults,
}

impl Process {
    pub fn new(pid: u32, serial: u64) -> Self {
        Self {
            serial,
            pid,
            namespace_pid: None,
            identity: Identity::of(Role::Unknown),
            alive: true,
            class: Class::default(),
            outside: Ledger::default(),
            startup_ns: None,
            startup: Ledger::default(),
            idle: IdleInTransaction::default(),
            samples: BTreeMap::new(),
            syncs: Syncs::default(),
            faults: Faults::default(),
        }
    }

    /// What it did so far; it goes on.
    pub fn cut(&mut self) -> Self {
        let next = Self {
            namespace_pid: self.namespace_pid,
            identity: self.identity.clone(),
            alive: self.alive,
            ..Self::new(self.pid, self.serial)
        };
        std::mem::replace(self, next)
    }

    /// Adds what was counted of another process, or of this one later.
    pub fn add(&mut self, other: &Self) {
        self.class.merge(&other.class);
        self.outside.merge(&other.outside);
        self.startup.merge(&other.startup);
        self.idle.count += other.idle.count;
        self.idle.total_ns += other.idle.total_ns;
        self.idle.max_ns = self.idle.max_ns.max(other.idle.max_ns);
        for (event, n) in &other.samples {
            *self.samples.entry(*event).or_default() += n;
        }
        self.syncs.merge(&other.syncs);
        self.faults.add(other.faults);
    }
}

impl Merge for Process {
    fn merge(&mut self, later: Self) {
        if self.startup_ns.is_none() && later.startup.wall_ns != 0 {
            // It was starting all the time before.
            self.startup.merge(&std::mem::take(&mut self.outside));
        }
        self.add(&later);
        self.startup_ns = later.startup_ns.or(self.startup_ns);
        (self.namespace_pid, self.identity, self.alive) = (later.namespace_pid, later.identity, later.alive);
    }
}
