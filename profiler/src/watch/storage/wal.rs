//! WAL and checkpoints: what each process wrote, looked at once a tick and said by itself at its end.

mod checkpoints;
mod clock;
mod cut;
mod series;

use std::collections::BTreeMap;

use pgstrobe_common::record::{self, WAL_USAGE_LEN};

use crate::{
    aggregate::Aggregate,
    kernel::features::monotonic_ns,
    postgres::{
        backend::Role,
        cluster,
        memory::ProcessMemory,
        server::Server,
        wal_usage::{Reader, WalUsage},
    },
    time::{Gain, Merge, Since},
};

use checkpoints::Checkpoints;
use clock::Clock;
pub use cut::Cut;
use cut::{Written, written};

/// Processes looked at in one tick, in turn: a look costs about a microsecond.
const LOOKS: usize = 128;

pub struct Wal {
    postmaster: u32,
    reader: Result<Reader, String>,
    processes: BTreeMap<u32, Process>,
    /// The last one looked at.
    turn: u32,
    /// Counter of transactions.
    completed: Option<Since<u64>>,
    /// When this began to look.
    origin_ns: u64,
    /// Since the last cut, but for the sums of processes that live.
    cut: Cut,
    checkpoints: Checkpoints,
    clock: Clock,
}

struct Process {
    /// None for one that ended before it was ever looked at.
    memory: Option<ProcessMemory>,
    /// When it was first looked at, which tells it from others of its number.
    since_ns: u64,
    /// Of all its life.
    usage: Since<WalUsage>,
    /// Since the last cut.
    sum: WalUsage,
    /// All of its life, as it said at its end.
    last_words: Option<WalUsage>,
}

impl Process {
    fn new(memory: Option<ProcessMemory>, usage: WalUsage) -> Self {
        let (since_ns, usage) = (monotonic_ns(), Since::from(usage));
        Self { memory, since_ns, usage, sum: WalUsage::default(), last_words: None }
    }

    /// What it wrote since the last look.
    fn gains(&mut self, usage: WalUsage) -> WalUsage {
        let gained = self.usage.take(usage);
        self.sum.add(&gained);
        gained
    }
}

impl Wal {
    pub fn open(server: &Server) -> Self {
        let clock = Clock::now();
        let reader = Reader::of(server);
        let mut this = Self {
            postmaster: server.cluster.postmaster_pid,
            cut: Cut::begin(clock.now_ns(), clock.now_ns(), reader.is_ok()),
            reader,
            processes: BTreeMap::new(),
            turn: 0,
            completed: None,
            origin_ns: clock.now_ns(),
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
        self.cut.gain(&all, monotonic_ns());
    }

    fn count_transactions(&mut self) {
        let Ok(reader) = self.reader else { return };
        let counted = ProcessMemory::open(self.postmaster).ok().and_then(|memory| reader.completed(&memory));
        if let Some(now) = counted {
            *self.cut.transactions.get_or_insert_default() += self.completed.get_or_insert(Since::from(now)).take(now);
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
                self.cut.gain(&gained, monotonic_ns());
            }
            // Killed, or its last words are not listened to.
            None => self.cut.unread += (status & SIGNAL != 0 || process.usage.before().records > 0) as u64,
        }
        self.cut.add(Written { pid, since_ns: process.since_ns, role, written: process.sum });
    }

    /// What is kept of checkpoints near their ends.
    pub fn checkpointed(&mut self, record: &record::Checkpoint, server: &Server, aggregate: &mut Aggregate) {
        self.clock.look();
        self.checkpoints.record(record, server, aggregate, &self.clock);
    }

    /// What there was since the last cut; the next stretch of time begins.
    pub fn cut(&mut self, aggregate: &Aggregate) -> Cut {
        self.clock.look();
        self.look_at_processes(aggregate, usize::MAX);
        self.count_transactions();
        let now_ns = self.clock.now_ns();
        let mut cut = std::mem::replace(&mut self.cut, Cut::begin(self.origin_ns, now_ns, self.reader.is_ok()));
        cut.span.to_ns = now_ns;
        cut.checkpoints = self.checkpoints.cut(&self.clock);
        cut.notes = self.clock.notes();
        let unseen = [self.checkpoints.reason(), self.reader.as_ref().err().map(String::as_str)];
        cut.unseen = unseen.into_iter().flatten().map(str::to_owned).collect();
        if self.reader.is_ok() {
            cut.written.get_or_insert_default();
        }
        if self.completed.is_some() {
            cut.transactions.get_or_insert_default();
        }
        for (pid, process) in &mut self.processes {
            let written = std::mem::take(&mut process.sum);
            cut.add(Written { pid: *pid, since_ns: process.since_ns, role: role(aggregate, *pid), written });
        }
        cut.bound();
        cut
    }
}

impl Gain for WalUsage {
    fn since(&self, before: &Self) -> Self {
        self.since(before).unwrap_or_default()
    }
}

impl Merge for WalUsage {
    fn merge(&mut self, later: Self) {
        self.add(&later);
    }
}

/// The signal of a wait status (wait(2)).
const SIGNAL: u32 = 0x7f;

fn role(aggregate: &Aggregate, pid: u32) -> Role {
    aggregate.identity(pid).map_or(Role::Unknown, |known| known.role)
}
