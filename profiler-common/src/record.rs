//! What records of the ring buffer hold: one per finished statement, and one per rare event. Their list is in
//! [`crate::records`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    ledger::{Ledger, SAMPLES, Sample},
    records::Record,
    writeback::DirtyLimits,
};

/// The statement's answer carried an ErrorResponse.
pub const STATEMENT_ERROR: u32 = 1;
/// It started without a new receive: its message was already there with the one before it.
pub const STATEMENT_PIPELINED: u32 = 1 << 1;
/// The exchange held more than one Execute (a batch under one Sync).
pub const STATEMENT_BATCH: u32 = 1 << 2;
/// The backend ended before it finished the answer.
pub const STATEMENT_TERMINATED: u32 = 1 << 3;
/// `class_key` is Postgres's own query id; without it, it is the shape hash of the text.
pub const STATEMENT_QUERY_ID: u32 = 1 << 4;
/// It was already running when the profile began; its start is the beginning of the profile.
pub const STATEMENT_CUT: u32 = 1 << 5;

#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// [`crate::records::Record::KIND`] of what it is the beginning of.
    pub kind: u16,
    /// Number of the server it is of ([`crate::cluster`]), [`crate::cluster::NO_CLUSTER`] for what is of none.
    pub cluster: u16,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// `CLOCK_MONOTONIC` of the event; for a statement or a sync, of its end. Nanoseconds.
    pub ts_ns: u64,
}

impl Header {
    /// The beginning of a record of a process of that server.
    #[inline(always)]
    pub const fn of<T: Record>(cluster: u16, pid: u32, ts_ns: u64) -> Self {
        Self { kind: T::KIND, cluster, pid, ts_ns }
    }
}

/// A finished statement. One that never slept has no more of a ledger than this.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Finished {
    pub start_ns: u64,
    pub end_ns: u64,
    /// Query id or shape hash (see [`STATEMENT_QUERY_ID`]); 0 when the server shows neither.
    pub class_key: u64,
    /// Bytes of the answer as sent on the socket (TLS framing included).
    pub sent_bytes: u64,
    /// On a CPU; waiting for one after a wake-up, and after it was taken away. Nanoseconds.
    pub cpu_ns: u64,
    pub woken_ns: u64,
    pub preempted_ns: u64,
    /// Switches away from the CPU.
    pub switches: u32,
    /// `STATEMENT_` flags.
    pub flags: u32,
}

/// A finished statement that slept, with its ledger.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Statement {
    pub header: Header,
    pub finished: Finished,
    pub ledger: Ledger,
    pub samples: [Sample; SAMPLES],
}

/// Finished statements that never slept, of one backend, on their way to userspace together: room in the ring buffer
/// costs much more than a record. What is not sent yet when a report is made is read from the backend's state.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Batch {
    pub head: BatchHead,
    pub statements: [Finished; BATCH_LEN],
}

/// Record: a [`Batch`], of which so many statements follow as there are.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BatchHead {
    pub header: Header,
    /// How many batches this backend sent before.
    pub generation: u32,
    pub len: u32,
}

impl BatchHead {
    /// The statements in the bytes that follow the head; those that are whole, where it says more than there are.
    pub fn statements<'a>(&self, rest: &'a [u8]) -> &'a [Finished] {
        let whole = rest.len() / size_of::<Finished>();
        let len = (self.len as usize).min(BATCH_LEN).min(whole);
        <[Finished]>::ref_from_prefix_with_elems(rest, len).map_or(&[], |(statements, _)| statements)
    }
}

/// Statements of a full batch.
pub const BATCH_LEN: usize = 8;

/// A process became another program, by whose name it may be a server: that of no server yet.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exec {
    pub header: Header,
}

/// A new process below a postmaster.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Fork {
    pub header: Header,
    pub parent: u32,
    /// Its pid in its own pid namespace, 0 when unread.
    pub namespace_pid: u32,
}

/// Longest process title taken, in bytes.
pub const TITLE_LEN: usize = 128;

/// Longest name in Postgres (`NAMEDATALEN`, src/include/pg_config_manual.h), with its terminating zero.
pub const NAME_LEN: usize = 64;

/// A connection became ready for its first statement.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ready {
    pub header: Header,
    /// When the process was forked, 0 when it was before the profile.
    pub forked_ns: u64,
    /// `MyBackendType`, or `u32::MAX` when it could not be read.
    pub backend_type: u32,
    pub _pad: u32,
    /// From fork, or from the beginning of the profile, to ready.
    pub startup_ns: u64,
    pub startup: Ledger,
    pub title: [u8; TITLE_LEN],
    pub database_name: [u8; NAME_LEN],
    pub user_name: [u8; NAME_LEN],
    pub application_name: [u8; NAME_LEN],
}

/// A process that served no client is about to end. Its memory can still be read now: a parallel worker may live for
/// less than it takes anybody to look at it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Title {
    pub header: Header,
    /// `MyBackendType`, or `u32::MAX` when it could not be read.
    pub backend_type: u32,
    pub _pad: u32,
    pub title: [u8; TITLE_LEN],
}

/// Waits for the client with a transaction open.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct IdleInTransaction {
    pub count: u64,
    /// Nanoseconds, all together and the longest.
    pub total_ns: u64,
    pub max_ns: u64,
}

/// [`Wake::flags`]: the waker was in a statement.
pub const WAKE_ACTIVE: u32 = 1;
/// Keys of classes are query ids.
pub const WAKE_QUERY_ID: u32 = 1 << 1;

/// A backend ended another one's wait. `header.pid` waited.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Wake {
    pub header: Header,
    /// What the sleeper waited for.
    pub wait_event_info: u32,
    /// Who woke it.
    pub waker: u32,
    /// How long it had waited, nanoseconds.
    pub waited_ns: u64,
    /// Start of the sleeper's statement.
    pub start_ns: u64,
    /// Class of the waker's statement, and of the one before; 0 when unknown.
    pub class_key: u64,
    pub last_key: u64,
    /// How long the waker's statement had run, and how long its transaction had waited for the client. Nanoseconds.
    pub running_ns: u64,
    pub idle_ns: u64,
    /// `WAKE_` flags.
    pub flags: u32,
    pub _pad: u32,
}

/// The kernel made a backend wait because too much is dirty, and the wait is over.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Pause {
    /// `ts_ns` is when it left the CPU for it.
    pub header: Header,
    /// Start of its statement, 0 outside of one.
    pub start_ns: u64,
    /// How long it slept, nanoseconds.
    pub paused_ns: u64,
    /// What the kernel went by.
    pub limits: DirtyLimits,
}

/// A backend ended.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exit {
    pub header: Header,
    /// Wait status as `wait(2)` would report it: signal in the low seven bits, exit code above bit 8.
    pub status: u32,
    /// `MyBackendType` at the exit, `u32::MAX` when it could not be read.
    pub backend_type: u32,
    /// The part of its life in the profile, past start-up, that belonged to no statement.
    pub outside_ns: u64,
    pub outside: Ledger,
    pub idle: IdleInTransaction,
    pub samples: [Sample; SAMPLES],
}

/// What a process that is about to end has written to the WAL in its whole life.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WalWritten {
    pub header: Header,
    /// `pgWalUsage`, which userspace knows the fields of.
    pub usage: [u8; WAL_USAGE_LEN],
}

/// Bytes taken of `pgWalUsage`: all that 13 to 17 have, and in 18 all but its last field.
pub const WAL_USAGE_LEN: usize = 24;

/// A checkpoint as its process keeps it, at its end or close to it: the next one may overwrite it soon.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Checkpoint {
    pub header: Header,
    /// `CheckpointStats`, which userspace knows the fields of.
    pub stats: [u64; CHECKPOINT_WORDS],
}

/// Words of `CheckpointStats` in 13 to 18; its first is not 0 once there was a checkpoint.
pub const CHECKPOINT_WORDS: usize = 10;

/// Longest statement text taken, in bytes.
pub const TEXT_LEN: usize = 64 * 1024;

/// The text is the activity string and it was cut at `track_activity_query_size`.
pub const TEXT_CUT: u32 = 1;
/// As [`STATEMENT_QUERY_ID`], for `class_key`.
pub const TEXT_QUERY_ID: u32 = 1 << 1;
/// The text is the whole string the backend works on, read while the statement ran.
pub const TEXT_FULL: u32 = 1 << 2;

/// Text of a statement class, sent the first time the class is seen; `len` bytes follow the struct.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Text {
    pub header: Header,
    pub class_key: u64,
    pub flags: u32,
    pub len: u32,
}

/// Path components taken of a file, from the leaf upward.
pub const PATH_PARTS: usize = 6;
/// Bytes of one path component.
pub const PATH_PART_LEN: usize = 64;

/// [`Sync::syscall`]: which call synchronised the file.
pub const SYNC_FSYNC: u32 = 0;
pub const SYNC_FDATASYNC: u32 = 1;
pub const SYNC_FILE_RANGE: u32 = 2;
pub const SYNC_MSYNC: u32 = 3;
/// A write to a file opened with `O_SYNC` or `O_DSYNC`.
pub const SYNC_WRITE: u32 = 4;

/// One call that makes data durable.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Sync {
    pub header: Header,
    pub duration_ns: u64,
    pub syscall: u32,
    /// What the call returned: negative is `-errno`.
    pub ret: i32,
    /// `MyBackendType`, or `u32::MAX` when it could not be read.
    pub backend_type: u32,
    /// `S_IFMT` bits of the file's mode, 0 when unknown.
    pub file_mode: u32,
    /// Names from the file upward to the root, zero-terminated; an empty one ends the path.
    pub path: [[u8; PATH_PART_LEN]; PATH_PARTS],
}
