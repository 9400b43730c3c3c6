//! WAL and checkpoints: what each process wrote, looked at once a tick and said by itself at its end.

mod checkpoints;
mod clock;
mod series;

use std::collections::BTreeMap;

use pgstrobe_common::record::{self, WAL_USAGE_LEN};

use crate::{
    aggregate::{Account, Aggregate},
    kernel::features::monotonic_ns,
    postgres::{
        backend::Role,
        cluster,
        memory::ProcessMemory,
        patience::Domain,
        server::Server,
        wal_usage::{Reader, WalUsage},
    },
    report::model::{self, Report, WalBy, WalWritten},
};

use crate::vocabulary::{Cause, FileKind};
use checkpoints::Checkpoints;
use clock::Clock;
use series::Series;

/// Processes looked at in one tick, in turn: a look costs about a microsecond.
const LOOKS: usize = 128;
/// Processes named in the report.
const NAMED: usize = 20;
/// Size of a page of Postgres (`BLCKSZ`), of which an image is at most.
const PAGE: u64 = 8192;

pub struct Wal {
    postmaster: u32,
    reader: Result<Reader, String>,
    processes: BTreeMap<u32, Process>,
    /// The last one looked at.
    turn: u32,
    /// Those that ended, the largest.
    ended: Vec<WalBy>,
    ended_roles: BTreeMap<Role, WalUsage>,
    total: WalUsage,
    series: Series,
    /// Counter of transactions at the beginning of the interval, and now.
    completed: Option<(u64, u64)>,
    /// Processes that ended without a word on what they had written since the last look.
    unread: u64,
    checkpoints: Checkpoints,
    clock: Clock,
}

struct Process {
    /// None for one that ended before it was ever looked at.
    memory: Option<ProcessMemory>,
    /// All of its life, when last looked at.
    last: WalUsage,
    /// In this interval.
    sum: WalUsage,
    /// All of its life, as it said at its end.
    last_words: Option<WalUsage>,
}

impl Process {
    fn new(memory: Option<ProcessMemory>, last: WalUsage) -> Self {
        Self { memory, last, sum: WalUsage::default(), last_words: None }
    }

    /// What it wrote since the last look.
    fn gains(&mut self, usage: WalUsage) -> WalUsage {
        let Some(gained) = usage.since(&self.last) else { return WalUsage::default() };
        self.last = usage;
        self.sum.add(&gained);
        gained
    }
}

impl Wal {
    pub fn open(server: &Server) -> Self {
        let clock = Clock::now();
        let mut this = Self {
            postmaster: server.cluster.postmaster_pid,
            reader: Reader::of(server),
            processes: BTreeMap::new(),
            turn: 0,
            ended: Vec::new(),
            ended_roles: BTreeMap::new(),
            total: WalUsage::default(),
            series: Series::new(clock.now_ns()),
            completed: None,
            unread: 0,
            checkpoints: Checkpoints::open(server, &clock),
            clock,
        };
        if let Ok(reader) = this.reader {
            for pid in cluster::children(&server.cluster) {
                let Ok(memory) = ProcessMemory::open(pid) else { continue };
                let last = reader.read(&memory).unwrap_or_default();
                this.processes.insert(pid, Process::new(Some(memory), last));
            }
        }
        this.count_transactions();
        this
    }

    /// Once a tick, before the records of this time are taken out of the ring buffer.
    pub fn look(&mut self, server: &Server, aggregate: &mut Aggregate) {
        self.clock.look();
        if self.postmaster != server.cluster.postmaster_pid {
            self.postmaster = server.cluster.postmaster_pid;
            self.reader = Reader::of(server);
            self.processes.clear();
            self.completed = None;
            self.checkpoints.reopen(server);
        }
        self.checkpoints.look(server, aggregate, &self.clock);
        self.look_at_processes(aggregate, LOOKS);
        self.count_transactions();
    }

    fn look_at_processes(&mut self, aggregate: &Aggregate, most: usize) {
        let Ok(reader) = self.reader else { return };
        for pid in aggregate.live().filter(|pid| *pid != self.postmaster) {
            if !self.processes.contains_key(&pid)
                && let Ok(memory) = ProcessMemory::open(pid)
            {
                self.processes.insert(pid, Process::new(Some(memory), WalUsage::default()));
            }
        }
        let after = self.processes.range(self.turn.saturating_add(1)..).map(|(pid, _)| *pid);
        let turn: Vec<u32> = after.chain(self.processes.range(..=self.turn).map(|(pid, _)| *pid)).take(most).collect();
        let mut all = WalUsage::default();
        for pid in &turn {
            // A worker's is in its leader's.
            let Some(process) = self.processes.get_mut(pid).filter(|_| role(aggregate, *pid) != Role::ParallelWorker)
            else {
                continue;
            };
            if let Some(usage) = process.memory.as_ref().and_then(|memory| reader.read(memory)) {
                all.add(&process.gains(usage));
            }
        }
        self.turn = turn.last().copied().unwrap_or(0);
        self.add(&all);
    }

    fn add(&mut self, gained: &WalUsage) {
        self.total.add(gained);
        self.series.add(gained, monotonic_ns());
    }

    fn count_transactions(&mut self) {
        let Ok(reader) = self.reader else { return };
        let counted = ProcessMemory::open(self.postmaster).ok().and_then(|memory| reader.completed(&memory));
        if let Some(now) = counted {
            self.completed = Some((self.completed.map_or(now, |(from, _)| from), now));
        }
    }

    /// A process said what it wrote in all its life: it is about to end.
    pub fn ends(&mut self, pid: u32, usage: &[u8; WAL_USAGE_LEN]) {
        let Some(usage) = self.reader.as_ref().ok().and_then(|reader| reader.parse(usage)) else { return };
        let process = self.processes.entry(pid).or_insert_with(|| Process::new(None, WalUsage::default()));
        process.last_words = Some(usage);
    }

    /// It ended; who it was is known by now.
    pub fn exits(&mut self, pid: u32, status: u32, aggregate: &Aggregate) {
        let Some(mut process) = self.processes.remove(&pid) else { return };
        let role = role(aggregate, pid);
        if role == Role::ParallelWorker {
            return;
        }
        match process.last_words {
            Some(usage) => {
                let gained = process.gains(usage);
                self.add(&gained);
            }
            // Killed, or its last words are not listened to.
            None => self.unread += (status & SIGNAL != 0 || process.last.records > 0) as u64,
        }
        self.ended_roles.entry(role).or_default().add(&process.sum);
        if process.sum.records > 0 {
            self.ended.push(WalBy { role: role.into(), pid: Some(pid), written: model(&process.sum) });
            if self.ended.len() >= 2 * NAMED {
                largest(&mut self.ended);
            }
        }
    }

    /// What is kept of checkpoints near their ends.
    pub fn checkpointed(&mut self, record: &record::Checkpoint, server: &Server, aggregate: &mut Aggregate) {
        self.clock.look();
        self.checkpoints.record(record, server, aggregate, &self.clock);
    }

    /// Fills the report, and begins the next interval.
    pub fn fill(&mut self, report: &mut Report, server: &Server, aggregate: &Aggregate, account: &Account) {
        self.clock.look();
        self.look_at_processes(aggregate, usize::MAX);
        self.count_transactions();
        let mut wal = model::Wal::default();
        let began_ns = self.checkpoints.fill(&mut wal, &self.clock);
        account.fill_checkpoints(aggregate.names(), &mut wal, |checkpoint| {
            began_ns.saturating_add_signed(checkpoint.began_ns)
        });
        report.coverage.notes.append(&mut self.clock.notes());
        for reason in [self.checkpoints.reason(), self.reader.as_ref().err().map(String::as_str)].into_iter().flatten()
        {
            report.coverage.notes.push(format!("WAL and checkpoints are not all seen: {reason}"));
        }
        if self.reader.is_ok() {
            wal.written = Some(model(&self.total));
        }
        let mut by_role = std::mem::take(&mut self.ended_roles);
        wal.by_process = std::mem::take(&mut self.ended);
        for (pid, process) in &mut self.processes {
            let sum = std::mem::take(&mut process.sum);
            if sum.records > 0 {
                let role = role(aggregate, *pid);
                by_role.entry(role).or_default().add(&sum);
                wal.by_process.push(WalBy { role: role.into(), pid: Some(*pid), written: model(&sum) });
            }
        }
        largest(&mut wal.by_process);
        by_role.retain(|_, sum| sum.records > 0);
        let by_role = by_role.iter().map(|(role, sum)| WalBy { role: (*role).into(), pid: None, written: model(sum) });
        wal.by_role = by_role.collect();
        wal.by_role.sort_by_key(|by| std::cmp::Reverse(by.written.bytes));
        wal.series = std::mem::replace(&mut self.series, Series::new(self.clock.now_ns())).model();
        wal.transactions = self.completed.map(|(from, to)| to.saturating_sub(from));
        self.completed = self.completed.map(|(_, to)| (to, to));
        for by in report.fsync.by.iter().filter(|by| by.file_kind == FileKind::Wal && !by.file.contains("xlogtemp.")) {
            *wal.syncs.entry(by.syscall.to_string()).or_default() += by.count;
        }
        wal.archiver = archiver(report, server);
        self.total = WalUsage::default();
        report.coverage.lost.insert("wal_usage_unread".into(), std::mem::take(&mut self.unread));
        report.storage.wal = wal;
    }
}

/// The signal of a wait status (wait(2)).
const SIGNAL: u32 = 0x7f;

fn role(aggregate: &Aggregate, pid: u32) -> Role {
    aggregate.identity(pid).map_or(Role::Unknown, |known| known.role)
}

fn model(usage: &WalUsage) -> WalWritten {
    WalWritten {
        bytes: usage.bytes,
        records: usage.records,
        full_page_images: usage.images,
        full_page_bytes_at_most: usage.bytes.min(usage.images * PAGE),
    }
}

fn largest(list: &mut Vec<WalBy>) {
    list.sort_by_key(|by| std::cmp::Reverse(by.written.bytes));
    list.truncate(NAMED);
}

/// What the archiver's own account says, and what it has still to do.
fn archiver(report: &Report, server: &Server) -> Option<model::Archiver> {
    let role = report.roles.iter().find(|role| role.role == Role::Archiver)?;
    // The wait event came in 15; before, it is the wait for a child.
    let parts = role
        .outside
        .parts
        .iter()
        .filter(|part| part.wait_event.as_deref() == Some("ArchiveCommand") || part.cause() == Some(Cause::Child));
    let (waits, wait_ns) = parts.fold((0, 0), |(count, ns), part| (count + part.count, ns + part.ns));
    let status = format!("/proc/{}/cwd/pg_wal/archive_status", server.cluster.postmaster_pid);
    let ready = server.patience.within(Domain::Wal, move || {
        let files = std::fs::read_dir(status).into_iter().flatten().flatten();
        files.filter(|file| file.file_name().to_string_lossy().ends_with(".ready")).count() as u64
    });
    Some(model::Archiver { waits, wait_ns, ready: ready.unwrap_or(0) })
}
