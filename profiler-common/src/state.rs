//! What the kernel side keeps per backend, and the settings it runs with.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    faults::BackendFaults,
    fields::{BlockFields, KernelFields},
    files::{CLASSES, ClassIo, FileCall},
    ledger::{Ledger, SAMPLES, Sample},
    reclaim::BackendReclaim,
    record::{Batch, IdleInTransaction},
    trace::TRACE_NONE,
};

/// Where statement boundaries come from ([`Settings::boundary`]).
pub const BOUNDARY_SOCKET: u32 = 0;
/// Function entries open and split statements; the answer's last byte still closes them.
pub const BOUNDARY_UPROBE: u32 = 1;

/// Fixed for the life of a load: lives in `.rodata`, so that the verifier removes what does not apply.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Settings {
    pub kernel: KernelFields,
    pub block: BlockFields,
    pub boundary: u32,
    /// 1 when sleeps are split by wait event.
    pub wait_events: u32,
    /// 1 where `bpf_get_current_task_btf` and `bpf_task_pt_regs` exist.
    pub task_btf: u32,
    /// Bit of `task_struct.in_iowait` in the word at its offset, 0 where unknown.
    pub in_iowait: u32,
    /// The same of `task_struct.frozen`.
    pub frozen: u32,
    /// 1 where tracepoints run with preemption on and hooks have a second program each: the kernel leaves a program out
    /// that was interrupted on the same CPU, and the second one takes over.
    pub twice: u32,
    /// 1 where the bio is the second argument of `block_bio_queue`, behind its queue (before 5.11).
    pub bio_second: u32,
    /// Which arguments `balance_dirty_pages` has: `DIRTY_ARGUMENTS_` of [`crate::writeback`].
    pub dirty_arguments: u32,
    /// 1 where the tracepoints of block requests have the queue as their first argument (up to 5.10), and where the one of
    /// a new request has it: some kernels in between changed the former alone.
    pub block_queue_first: u32,
    pub block_queue_before_bio: u32,
    /// Which block requests are sent one by one: `TRACE_` of [`crate::trace`]; then nothing is added up.
    pub trace: u32,
    /// Only those of this device (major × 2²⁰ + minor); 0 for all.
    pub trace_device: u32,
    /// Only those that took at least so long. Microseconds.
    pub trace_min_us: u32,
    /// 1 makes every program return at once: the floor of what hooks cost.
    pub empty: u32,
}

impl Settings {
    pub const UNRESOLVED: Self = Self {
        kernel: KernelFields::UNRESOLVED,
        block: BlockFields::UNRESOLVED,
        boundary: BOUNDARY_SOCKET,
        wait_events: 1,
        task_btf: 0,
        in_iowait: 0,
        frozen: 0,
        twice: 0,
        bio_second: 0,
        dirty_arguments: 0,
        block_queue_first: 0,
        block_queue_before_bio: 0,
        trace: TRACE_NONE,
        trace_device: 0,
        trace_min_us: 0,
        empty: 0,
    };
}

/// The backend is between fork and its first ReadyForQuery.
pub const BACKEND_STARTING: u32 = 1;
/// A statement is open.
pub const BACKEND_OPEN: u32 = 1 << 1;
/// It slept in, or asked for, its next message since the last answer: a send now is not an answer.
pub const BACKEND_ASKED: u32 = 1 << 2;
/// It has asked for its next message, found none, and has not slept since.
pub const BACKEND_ASKING: u32 = 1 << 25;
/// It left the CPU and has not come back.
pub const BACKEND_OFF: u32 = 1 << 3;
/// The open statement was running when the profile began.
pub const BACKEND_CUT: u32 = 1 << 4;
/// The answer may be over, but its last buffer was a full one: the next receive decides.
pub const BACKEND_MAYBE_DONE: u32 = 1 << 5;
/// The open exchange held more than one Execute.
pub const BACKEND_BATCH: u32 = 1 << 6;
/// With the uprobe boundary: the open statement has been executed; the next entry begins another.
pub const BACKEND_EXECUTED: u32 = 1 << 7;
/// With the uprobe boundary: a simple query, which may hold several executions.
pub const BACKEND_SIMPLE: u32 = 1 << 8;

/// Its last departure from the CPU was a sleep, not a preemption.
pub const BACKEND_SLEPT: u32 = 1 << 9;
/// The open statement's message came together with the one before.
pub const BACKEND_PIPELINED: u32 = 1 << 10;

/// Its last receive, or send, was met by the first of two programs (see [`Settings::twice`]).
pub const BACKEND_MET_RECEIVE: u32 = 1 << 11;
pub const BACKEND_MET_SEND: u32 = 1 << 12;

/// The open wait for a CPU is one for CPU time of the cgroup.
pub const BACKEND_THROTTLED: u32 = 1 << 13;
/// A transaction is open.
pub const BACKEND_IN_TRANSACTION: u32 = 1 << 14;
/// It frees memory because a cgroup is at its limit.
pub const BACKEND_MEMCG_RECLAIM: u32 = 1 << 15;

/// There is something in [`BackendReclaim::inside`] of [`Backend::reclaim`].
pub const BACKEND_RECLAIMED: u32 = 1 << 23;

/// There is something in [`Backend::io`].
pub const BACKEND_IO: u32 = 1 << 24;

/// Text buffers of a CPU: each is used by one program that is not entered twice on a CPU; uprobes may be, and look.
pub const TEXT_OF_SEND: u32 = 0;
pub const TEXT_OF_SAMPLER: u32 = 1;
pub const TEXT_OF_SEND_AGAIN: u32 = 2;
pub const TEXT_OF_ENTRY: u32 = 3;
pub const TEXT_OF_WAKE: u32 = 4;
pub const TEXT_BUFFERS: u32 = 5;

/// Slots of the `BACKENDS` map, a power of two. A backend lives in the slot of its pid modulo this; a second one of the same
/// slot lives in the map `CROWDED`.
pub const BACKEND_SLOTS: u32 = 16_384;

/// State of one backend process. Times are `CLOCK_MONOTONIC` in nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Backend {
    /// Process id in the initial pid namespace; 0 in a slot that is free.
    pub pid: u32,
    pub flags: u32,
    /// `wait_event_info` and context ([`crate::context`]) at the last departure from the CPU.
    pub wait_event_info: u32,
    pub context: u32,
    /// `MyBackendType` as last read during start-up, `u32::MAX` while unread.
    pub backend_type: u32,
    /// Number of its server, an index into `CLUSTERS` ([`crate::cluster`]).
    pub cluster: u32,
    /// When the process was forked, 0 when before the profile.
    pub forked_ns: u64,
    /// When accounting began: the fork, or the beginning of the profile.
    pub since_ns: u64,
    /// Start of the open statement.
    pub start_ns: u64,
    /// End of the last statement.
    pub end_ns: u64,
    /// Last departure from the CPU.
    pub off_ns: u64,
    /// Last arrival on the CPU.
    pub on_ns: u64,
    /// When the last sleep ended (the wake-up, not the arrival on the CPU).
    pub woken_ns: u64,
    /// How long it waited for a CPU then, how long it has been without one since because others had it, and how long of all
    /// that because of a CPU quota.
    pub wake_wait_ns: u64,
    pub wake_preempted_ns: u64,
    pub wake_throttled_ns: u64,
    /// `sched_info.run_delay` up to which the ledger is settled.
    pub run_delay_ns: u64,
    /// From when on the time on the CPU is not yet counted.
    pub cpu_mark_ns: u64,
    /// `se.sum_exec_runtime` at the last departure from the CPU, or arrival on it, 0 while unknown.
    pub exec_ns: u64,
    /// How far `CLOCK_MONOTONIC` is ahead of the scheduler's clock (modulo 2⁶⁴), 0 while unknown.
    pub clock_ns: u64,
    /// What the time off the CPU under way is too long by (signed): the scheduler takes its times a little before a switch
    /// is seen, and what it counted for the last stint on the CPU differs by that.
    pub skew_ns: i64,
    /// Time off the CPU that is not yet split into blocked and runnable; 0 when settled.
    pub away_ns: u64,
    /// The client's socket (its `struct sock`, or file descriptor + 1 with the syscall hooks), 0 while unknown.
    pub sock: u64,
    /// Where `MyBEEntry`, the activity string, the query id and the wait event of this process are, found once it is past
    /// start-up; 0 while unknown, and for what is not there.
    pub status: u64,
    pub activity: u64,
    pub query_id: u64,
    pub wait_event: u64,
    /// Last send: time, user buffer and bytes; bytes of the one before.
    pub sent_ns: u64,
    pub sent_buf: u64,
    pub sent_len: u32,
    pub sent_before: u32,
    /// Bytes sent for the open statement.
    pub sent_bytes: u64,
    /// Wall time of the closed statements, to tell the time outside them.
    pub inside_ns: u64,
    /// Statements closed.
    pub statements: u64,
    /// Synchronising call under way: its beginning (0: none), its `struct file`, and which it is.
    pub sync_ns: u64,
    pub sync_file: u64,
    pub sync_call: u32,
    /// With the syscall hooks: descriptor of the send or receive under way.
    pub call_fd: u32,
    /// Where its last time off the CPU was counted, if that was a sleep and its account is still open.
    pub last_slot: u32,
    /// What the sleep is that `dirty_ns` announces: a bit of [`crate::context`].
    pub announced: u32,
    /// In how many periods its cgroup had run out of its CPU quota when the CPU was last taken from it.
    pub group_throttles: u32,
    pub _pad: u32,
    /// With [`BACKEND_MAYBE_DONE`]: class and flags of the statement that may be over.
    pub class_key: u64,
    pub class_flags: u32,
    /// Who ended its last wait for another backend, 0 while nobody has.
    pub waker: u32,
    /// When that wait began.
    pub wait_began_ns: u64,
    /// When the kernel was last about to make it wait for dirty pages, or for a page under writeback.
    pub dirty_ns: u64,
    /// How long the open transaction has waited for the client.
    pub transaction_idle_ns: u64,
    pub idle: IdleInTransaction,
    /// Class of its last statement, 0 when unknown.
    pub last_key: u64,
    /// The class of its last statement, if the text of that is known.
    pub known_key: u64,
    /// With the syscall hooks: its buffer and length.
    pub call_buf: u64,
    pub call_len: u64,
    /// Ledger of the open statement.
    pub inside: Ledger,
    /// Ledger of the time outside statements.
    pub outside: Ledger,
    /// Wait events it was seen at work under, in the open statement and outside.
    pub inside_samples: [Sample; SAMPLES],
    pub outside_samples: [Sample; SAMPLES],
    /// Finished statements that are not sent yet.
    pub batch: Batch,
    /// The call on a file under way.
    pub file_call: FileCall,
    /// Reads and writes of the open statement, or of the whole life of a process without a client, by class of file.
    pub io: [ClassIo; CLASSES],
    /// Memory it had to free before it got some.
    pub reclaim: BackendReclaim,
    pub faults: BackendFaults,
}

crate::map_values!(Settings, Backend);
