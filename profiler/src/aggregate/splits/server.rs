//! A server as the kernel side sees it: what its processes do, step by step, as records.

use pgstrobe_common::{
    aio::AioWake,
    faults::{FAULTS_OUTSIDE, Faulted, Faults},
    files::{CLASS_RELATION, ClassIo, StatementIo},
    ledger::{Ledger as KernelLedger, Sample},
    reclaim::{RECLAIM_OUTSIDE, ReclaimSum, Reclaimed},
    record::{
        Exit, Finished, Header, IdleInTransaction, PATH_PART_LEN, PATH_PARTS, Pause, STATEMENT_ERROR,
        STATEMENT_QUERY_ID, SYNC_FSYNC, Sync, Wake,
    },
    state::{BACKEND_OPEN, Backend as KernelBackend},
    writeback::DirtyLimits,
};
use proptest::prelude::*;

use crate::{
    aggregate::*,
    postgres::backend::{Identity, Role},
};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;
const CLASSES: u64 = 5;
pub const PIDS: std::ops::Range<u32> = 100..106;

/// What happens next to one process, `after` milliseconds later, or at the next full second: then a cut may be before it.
#[derive(Clone, Debug)]
pub struct Step {
    pub after: u64,
    pub full_second: bool,
    pub pid: u32,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// It begins a statement of this class, which sleeps or not, or it ends the one it is in, with an error or not.
    Statement {
        class: u64,
        slept: bool,
        error: bool,
    },
    /// Statements that never slept.
    Batch {
        class: u64,
        len: u32,
    },
    Pause(u64),
    /// It waited so long for this one.
    Wake(u32, u64),
    AioWake(u32, u64),
    Sync(u64),
    /// It ends, and another process has its number.
    Exit,
    /// A checkpoint begins, or ends.
    Checkpoint,
}

pub fn step() -> impl Strategy<Value = Step> {
    let class = 1..=CLASSES;
    let what = prop_oneof![
        6 => (class.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(class, slept, error)| What::Statement { class, slept, error }),
        3 => (class, 1..8_u32).prop_map(|(class, len)| What::Batch { class, len }),
        2 => (1..200_u64).prop_map(What::Pause),
        2 => (PIDS, 1..50_u64).prop_map(|(by, ms)| What::Wake(by, ms)),
        1 => (PIDS, 1..50_u64).prop_map(|(by, ms)| What::AioWake(by, ms)),
        2 => (1..50_u64).prop_map(What::Sync),
        1 => Just(What::Exit),
        1 => Just(What::Checkpoint),
    ];
    (0..700_u64, any::<bool>(), PIDS, what).prop_map(|(after, full_second, pid, what)| Step {
        after,
        full_second,
        pid,
        what,
    })
}

/// A server as the kernel side sees it.
pub struct Server {
    pub aggregate: Aggregate,
    pub now: u64,
    processes: HashMap<u32, Simulated>,
    checkpoint: Option<u64>,
    pub parts: Vec<Account>,
}

/// What the kernel side keeps of a process.
#[derive(Clone, Default)]
struct Simulated {
    since: u64,
    /// Start of the open statement, its class, and whether it sleeps.
    open: Option<(u64, u64, bool)>,
    inside: u64,
    faults: Faults,
    faults_inside: Faults,
    mark: Faults,
    reclaimed_outside: u64,
    idle: IdleInTransaction,
}

fn sums(n: u64) -> [ReclaimSum; 2] {
    [ReclaimSum { count: n, ns: n * 1_000, cpu_ns: n * 10, max_ns: 1_000, pages: n }, ReclaimSum::default()]
}

fn ledger(wall: u64, class: u64) -> KernelLedger {
    let mut ledger = KernelLedger { cpu_ns: wall / 4, woken_ns: wall / 8, switches: 2, ..KernelLedger::default() };
    let part = &mut ledger.parts[0];
    (part.wait_event_info, part.context, part.count, part.ns) = (0x0300_0000 + class as u32, 74, 1, wall / 2);
    ledger
}

pub fn text(class: u64) -> String {
    format!("SELECT a{class} FROM t")
}

impl Server {
    pub fn start() -> Self {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        let now = 1_000 * SECOND;
        aggregate.begins(now);
        for class in 1..=CLASSES {
            aggregate.text(class, true, text(class).as_bytes(), false, true);
        }
        let mut this = Self { aggregate, now, processes: HashMap::new(), checkpoint: None, parts: Vec::new() };
        PIDS.for_each(|pid| this.fork(pid));
        this
    }

    fn fork(&mut self, pid: u32) {
        let role = if pid == PIDS.start { Role::Checkpointer } else { Role::ClientBackend };
        self.aggregate.appear(pid, None);
        let identity =
            Identity { database: Some("app".into()), user: Some(format!("u{}", pid % 2)), ..Identity::of(role) };
        self.aggregate.identify(pid, identity);
        self.processes.insert(pid, Simulated { since: self.now, ..Simulated::default() });
    }

    fn header(&self, pid: u32) -> Header {
        Header { pid, ts_ns: self.now, ..Header::default() }
    }

    pub fn act(&mut self, step: &Step) {
        let (pid, header) = (step.pid, self.header(step.pid));
        let open = self.processes[&pid].open;
        let start_ns = open.map_or(0, |(start, ..)| start);
        let asleep = matches!(step.what, What::Pause(_) | What::Wake(..) | What::AioWake(..));
        if asleep && open.is_some_and(|(.., slept)| !slept) {
            return;
        }
        match step.what {
            What::Statement { class, slept, error } => match open {
                None => {
                    let process = self.processes.get_mut(&pid).expect("a process");
                    process.open = Some((self.now, class, slept));
                    process.faults.minor += 3;
                    process.mark = process.faults;
                    process.reclaimed_outside += 1;
                    process.idle.count += 1;
                    process.idle.total_ns += 100;
                    process.idle.max_ns = process.idle.max_ns.max(step.after);
                }
                Some(open) => self.end(pid, open, error),
            },
            What::Batch { class, len } if open.is_none() => {
                let flags = STATEMENT_QUERY_ID;
                let one = |n: u64| {
                    let start_ns = self.now + n * 10;
                    Finished {
                        start_ns,
                        end_ns: start_ns + 9,
                        class_key: class,
                        cpu_ns: 8,
                        flags,
                        ..Finished::default()
                    }
                };
                let all: Vec<Finished> = (0..u64::from(len)).map(one).collect();
                self.aggregate.short_statements(pid, &all);
                self.processes.get_mut(&pid).expect("a process").inside += 9 * u64::from(len);
            }
            What::Pause(ms) => {
                let limits = DirtyLimits { dirty: 100, limit: 120, background: 60, rate: 10, ..DirtyLimits::default() };
                self.aggregate.pause(&Pause { header, start_ns, paused_ns: ms * MS, limits });
            }
            What::Wake(waker, ms) => self.aggregate.wake(&Wake {
                header,
                wait_event_info: 0x0100_0000 + waker,
                waker,
                waited_ns: ms * MS,
                start_ns,
                class_key: 1,
                last_key: 2,
                running_ns: 10,
                idle_ns: 0,
                flags: pgstrobe_common::record::WAKE_QUERY_ID,
                _pad: 0,
            }),
            What::AioWake(waker, ms) => self.aggregate.aio_wake(&AioWake {
                header,
                waker,
                flags: 0,
                waited_ns: ms * MS,
                start_ns,
                call_began_ns: 0,
                call_ended_ns: 0,
            }),
            What::Sync(ms) => {
                let mut path = [[0; PATH_PART_LEN]; PATH_PARTS];
                path[0][..2].copy_from_slice(b"16");
                let (syscall, ret, backend_type, file_mode) = (SYNC_FSYNC, 0, 0, 0);
                let sync = Sync { header, duration_ns: ms * MS, syscall, ret, backend_type, file_mode, path };
                let role = self.aggregate.identity(pid).map_or(Role::Unknown, |identity| identity.role);
                self.aggregate.sync(&sync, role);
            }
            What::Exit if open.is_none() => self.exit(pid),
            What::Checkpoint => self.checkpoint(),
            What::Batch { .. } | What::Exit => {}
        }
    }

    fn end(&mut self, pid: u32, (start, class, slept): (u64, u64, bool), error: bool) {
        let (now, header) = (self.now, self.header(pid));
        let process = self.processes.get_mut(&pid).expect("a process");
        process.faults.minor += 7;
        let faults = process.faults.since(process.mark);
        process.faults_inside.add(faults);
        process.inside += now - start;
        process.open = None;
        let flags = STATEMENT_QUERY_ID | if error { STATEMENT_ERROR } else { 0 };
        let record = Faulted { header, class_key: class, start_ns: start, flags, _pad: 0, faults };
        self.aggregate.faulted(&record);
        if slept {
            let sums = sums(5);
            self.aggregate.reclaimed(&Reclaimed { header, class_key: class, start_ns: start, flags, _pad: 0, sums });
        }
        let mut io = StatementIo { header, class_key: class, flags, ..StatementIo::default() };
        io.io[CLASS_RELATION as usize] = ClassIo { reads: 1, read_bytes: 8192, ..ClassIo::default() };
        self.aggregate.io(&io);
        let wall = now - start;
        let finished = Finished {
            start_ns: start,
            end_ns: now,
            class_key: class,
            sent_bytes: 10,
            cpu_ns: wall,
            flags,
            ..Finished::default()
        };
        let slept = slept.then(|| ledger(wall, class));
        self.aggregate.statement(pid, &finished, slept.as_ref());
        let mut samples = [Sample::default(); SAMPLES];
        samples[0].count = 2;
        self.aggregate.sampled(pid, &finished, &samples);
    }

    /// (time, ledger) outside statements.
    fn outside(&self, pid: u32) -> (u64, KernelLedger) {
        let process = &self.processes[&pid];
        let open = process.open.map_or(0, |(start, ..)| self.now - start);
        let ns = (self.now - process.since).saturating_sub(process.inside).saturating_sub(open);
        (ns, KernelLedger { cpu_ns: ns / 2, switches: 1, ..KernelLedger::default() })
    }

    pub fn exit(&mut self, pid: u32) {
        let header = self.header(pid);
        let (outside_ns, outside) = self.outside(pid);
        let process = self.processes[&pid].clone();
        let faults = process.faults.since(process.faults_inside);
        let record = Faulted { header, class_key: 0, start_ns: 0, flags: FAULTS_OUTSIDE, _pad: 0, faults };
        self.aggregate.faulted(&record);
        let sums = sums(process.reclaimed_outside);
        let flags = RECLAIM_OUTSIDE;
        self.aggregate.reclaimed(&Reclaimed { header, class_key: 0, start_ns: 0, flags, _pad: 0, sums });
        self.aggregate.ends(pid, self.now);
        self.aggregate.exit(&Exit { header, outside_ns, outside, idle: process.idle, ..Exit::default() });
        self.fork(pid);
    }

    fn checkpoint(&mut self) {
        let began = *self.checkpoint.get_or_insert(self.now);
        let ended = began != self.now;
        let at = |ns| if ended { ns } else { u64::MAX };
        let (sync, end) = (at(began + (self.now - began) / 2), at(self.now));
        self.aggregate.checkpoint(Phases {
            start_ns: began,
            write_ns: began,
            sync_ns: sync,
            sync_end_ns: end,
            end_ns: end,
        });
        if ended {
            self.checkpoint = None;
        }
    }

    /// As a report does: what live processes have not sent is taken in, and the account is closed.
    pub fn cut(&mut self) {
        for pid in PIDS {
            let (_, outside) = self.outside(pid);
            let process = self.processes[&pid].clone();
            let mut state = KernelBackend {
                pid,
                since_ns: process.since,
                inside_ns: process.inside,
                outside,
                cpu_mark_ns: self.now,
                idle: process.idle,
                ..KernelBackend::default()
            };
            let kept = &mut state.faults;
            (kept.inside, kept.mark) = (process.faults_inside, process.mark);
            state.reclaim.outside = sums(process.reclaimed_outside);
            let mut query = None;
            if let Some((start, class, slept)) = process.open {
                (state.flags, state.start_ns) = (BACKEND_OPEN, start);
                state.inside = ledger(self.now - start, class);
                state.reclaim.inside = sums(if slept { 2 } else { 0 });
                query = Some((text(class).into_bytes(), false));
            }
            self.aggregate.settle(pid, &state, self.now, query, false);
            self.aggregate.settle_reclaim(pid, &state);
            self.aggregate.settle_faults(pid, &state, process.faults);
        }
        let account = self.aggregate.cut(self.now);
        let kept = postcard::to_stdvec(&account).expect("an account in a file");
        self.parts.push(postcard::from_bytes(&kept).expect("an account out of a file"));
    }
}
