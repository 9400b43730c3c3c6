//! What one server's processes and statements did in a stretch of time, by the records of the kernel side: the part of a
//! report that is made of records is a function of an account and of names.
//!
//! Accounts merge: those of the parts of a stretch are that of the whole. Memory is bounded: what does not fit goes to an
//! `other` entry and is counted.

use std::{borrow::Cow, collections::HashMap};

use serde::{Deserialize, Serialize};

use super::{
    MAX_BACKENDS, MAX_SYNC_FILES,
    aio::Aio,
    blocking::Blocked,
    checkpoints::Overlay,
    numbered::Numbered,
    pauses::Pauses,
    process::Process,
    queries::Queries,
    reclaim::Reclaims,
    shares::Shares,
    slowest::Slowest,
    syncs::{SyncKey, Syncs},
    tail::Tail,
    texts::Texts,
    wakes::Pairs,
};
use crate::{ledger::Ledger, report::model::Report, time::Merge};

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// Of the clock of the records, `CLOCK_MONOTONIC` in nanoseconds.
    pub from_ns: u64,
    pub to_ns: u64,
    /// In the order in which they were met; until the account is closed, those that have ended.
    pub(super) processes: Vec<Process>,
    /// Of all that were met until its end.
    pub(super) last_serial: u64,
    /// Processes past [`MAX_BACKENDS`].
    pub(super) other_processes: Option<Box<Process>>,
    /// All statements are in one of its classes: what they have in all is the sum.
    pub(super) queries: Queries,
    pub(super) tail: Tail,
    pub(super) shares: Shares,
    pub(super) slowest: Slowest,
    /// Waits for short locks, by the classes of both sides.
    pub(super) pairs: Pairs,
    pub(super) blocked: Blocked,
    pub(super) pauses: Pauses,
    pub(super) reclaims: Reclaims,
    pub(super) aio: Aio,
    pub(super) overlay: Overlay,
    pub(super) syncs: HashMap<SyncKey, Syncs>,
    /// Statements but those in `cut`.
    pub(super) count: u64,
    /// Statements that were running when the profile began: in the ledger, not in the latency.
    pub(super) cut: u64,
    pub(super) batches: u64,
    pub(super) pipelined: u64,
    pub(super) terminated: u64,
    /// Parallel workers whose statement will not come.
    pub(super) unclaimed_workers: u64,
    /// Those that ended for statements which were open at the end.
    pub(super) waiting_workers: u64,
    /// Statements that were open at the end.
    pub(super) unfinished: Vec<Open>,
    pub(super) folded: Folded,
}

/// What found no room of its own.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Folded {
    pub backends: u64,
    pub checkpoints: u64,
    /// Statements.
    pub classes: u64,
    /// Synchronising calls.
    pub files: u64,
}

/// A statement that did not end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Open {
    pub pid: u32,
    pub owner: u32,
    pub query: Option<String>,
    pub elapsed_ns: u64,
    pub began_before: bool,
    pub ledger: Ledger,
}

/// A database and a user.
pub(super) type Owner = (Option<String>, Option<String>);

/// What the numbers in accounts stand for: classes and owners are numbered by the [`super::Aggregate`] that an account is of.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    pub(super) texts: &'a Texts,
    pub(super) owners: &'a Numbered<Owner>,
    /// Of the server's version: it decides what wait events are called.
    pub(super) major: u32,
}

impl Names<'_> {
    pub(super) fn owner(&self, number: u32) -> Owner {
        self.owners.get(number).cloned().unwrap_or_default()
    }

    /// The text of a class.
    pub(super) fn text(&self, class: u32) -> String {
        self.texts.get(class).text.clone()
    }
}

impl Account {
    pub(super) fn beginning(from_ns: u64, queries: Queries) -> Self {
        Self { from_ns, queries, ..Self::default() }
    }

    /// Statements that ended, those that began before the profile left out.
    pub fn statements(&self) -> u64 {
        self.count
    }

    /// A process has ended, or the account is closed.
    pub(super) fn enter(&mut self, process: Process, room: usize) {
        if self.processes.len() < room {
            return self.processes.push(process);
        }
        self.folded.backends += 1;
        self.fold(&process);
    }

    pub(super) fn sync(&mut self, mut key: SyncKey) -> &mut Syncs {
        if self.syncs.len() >= MAX_SYNC_FILES && !self.syncs.contains_key(&key) {
            self.folded.files += 1;
            (key.file, key.pid) = ("(other)".into(), 0);
        }
        self.syncs.entry(key).or_default()
    }

    /// The open statement of a process, at the end.
    pub(super) fn open(&self, pid: u32) -> Option<&Open> {
        self.unfinished.iter().find(|open| open.pid == pid)
    }

    /// Losses that only this account knows, and what is to be said of it.
    pub(super) fn fill_coverage(&self, report: &mut Report) {
        let Folded { backends, checkpoints, classes, files } = self.folded;
        let coverage = &mut report.coverage;
        for (reason, n) in [
            ("backends_folded", backends),
            ("checkpoints_folded", checkpoints),
            ("classes_folded", classes),
            ("files_folded", files),
        ] {
            *coverage.lost.entry(reason.into()).or_default() += n;
        }
        coverage.notes.extend(self.notes().into_iter().map(Cow::into_owned));
    }

    fn notes(&self) -> Vec<Cow<'static, str>> {
        let mut notes = Vec::new();
        let workers = self.unclaimed_workers + self.waiting_workers;
        if workers != 0 {
            notes.push(
                format!(
                    "{workers} parallel workers ended for statements whose end the profile has not seen: their time is \
                     with themselves, among the backends"
                )
                .into(),
            );
        }
        if self.cut != 0 {
            notes.push(
                format!(
                    "{} statements were running when the profile began: their time in it is in the ledger, not in the \
                     latency",
                    self.cut
                )
                .into(),
            );
        }
        notes
    }
}

impl Merge for Account {
    fn merge(&mut self, later: Self) {
        let shift = later.from_ns.saturating_sub(self.from_ns);
        self.to_ns = later.to_ns;
        self.merge_processes(later.processes, later.other_processes);
        self.folded.classes += self.queries.merge_all(later.queries);
        self.tail.merge(later.tail);
        self.shares.merge(later.shares);
        self.slowest.merge(later.slowest);
        self.blocked.folded += self.pairs.merge_all(later.pairs);
        self.blocked.merge(later.blocked);
        self.pauses.merge_shifted(later.pauses, shift);
        self.reclaims.merge(later.reclaims);
        self.aio.merge(later.aio);
        self.folded.checkpoints += self.overlay.merge_all(later.overlay);
        for (key, syncs) in later.syncs {
            self.sync(key).merge(&syncs);
        }
        self.count += later.count;
        self.cut += later.cut;
        self.batches += later.batches;
        self.pipelined += later.pipelined;
        self.terminated += later.terminated;
        self.unclaimed_workers += later.unclaimed_workers;
        self.waiting_workers = later.waiting_workers;
        self.unfinished = later.unfinished;
        let Folded { backends, checkpoints, classes, files } = later.folded;
        self.folded.backends += backends;
        self.folded.checkpoints += checkpoints;
        self.folded.classes += classes;
        self.folded.files += files;
    }
}

impl Account {
    /// They are in the order of their serial numbers. One that is not here although it is not new was folded before.
    fn merge_processes(&mut self, later: Vec<Process>, other: Option<Box<Process>>) {
        let known = self.last_serial;
        for process in later {
            self.last_serial = self.last_serial.max(process.serial);
            match self.processes.binary_search_by_key(&process.serial, |known| known.serial) {
                Ok(at) => self.processes[at].merge(process),
                Err(_) if process.serial <= known => self.fold(&process),
                Err(_) => self.enter(process, MAX_BACKENDS),
            }
        }
        if let Some(other) = other {
            self.fold(&other);
        }
    }

    fn fold(&mut self, process: &Process) {
        self.other_processes.get_or_insert_with(|| Box::new(Process::new(0, 0))).add(process);
    }
}
