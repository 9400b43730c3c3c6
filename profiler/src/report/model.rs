//! The report as plain data: the JSON contract `pgstrobe.report/1`.
//!
//! Every output is a function of [`Report`]; nothing here knows how the data was taken. Durations are nanoseconds,
//! sizes are bytes, query ids are decimal strings. Fields are added, never renamed.

mod faults;
mod memory;
mod storage;
mod sum;

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use crate::vocabulary::{self, BlockerState, Cause, Confidence, FileKind, Severity, State, SyncCall, Word};
pub use faults::*;
pub use memory::*;
pub use storage::*;
pub use sum::sum;

/// Value of [`Report::schema`].
pub const SCHEMA: &str = "pgstrobe.report/1";

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Report {
    pub schema: String,
    pub version: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    pub duration_ns: u64,
    pub host: Host,
    pub clusters: Vec<Cluster>,
    pub coverage: Coverage,
    pub statements: Statements,
    pub backends: Vec<Backend>,
    /// Per role, over all its processes.
    pub roles: Vec<Role>,
    pub queries: Vec<Query>,
    /// Statements still open when the profile ended; not counted in `statements`.
    pub unfinished: Vec<Unfinished>,
    /// What makes the slowest statements different from the rest; none without statements, or where all are equally fast.
    pub tail: Option<Tail>,
    /// The slowest single statements, the slowest first.
    pub slowest: Vec<Slow>,
    /// Who was waited for, the longest first.
    pub blocking: Vec<Blocking>,
    pub fsync: Fsync,
    /// From files to devices.
    pub storage: Storage,
    /// What backends had to free before they got memory.
    pub memory: Memory,
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Host {
    pub kernel: String,
    pub cpus: u32,
    pub virtualized: bool,
    pub btf: bool,
    /// CPU time of the host during the profile.
    pub cpu: HostCpu,
}

/// From /proc/stat and /proc/PID/stat at both ends of the profile, in nanoseconds: what other processes that ended in
/// between did is not seen. Each number is within 20 ms.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HostCpu {
    /// CPUs × duration.
    pub total_ns: u64,
    pub idle_ns: u64,
    /// Taken by the hypervisor.
    pub steal_ns: u64,
    /// Of the cluster's processes.
    pub cluster_ns: u64,
    /// Of other processes, the largest first: at most ten.
    pub others: Vec<OtherProcess>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct OtherProcess {
    pub pid: u32,
    pub name: String,
    /// Last component of its cgroup's path.
    pub cgroup: String,
    pub cpu_ns: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Cluster {
    pub postmaster_pid: u32,
    /// Its pid inside its container, where that has a pid namespace of its own.
    pub namespace_pid: Option<u32>,
    pub version: String,
    pub port: Option<u16>,
    pub data_directory: String,
    pub binary: String,
    /// Identifier of its container, where its control group shows one.
    pub container: Option<String>,
    /// `socket` or `uprobe`.
    pub boundary: String,
    /// How often the postmaster was replaced during the profile.
    pub restarts: u32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Coverage {
    /// What was lost, by reason; every reason is present, also when it is zero.
    pub lost: std::collections::BTreeMap<String, u64>,
    pub probes: Vec<ProbeCoverage>,
    pub overhead: Overhead,
    /// Plain sentences on what could not be seen and why.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ProbeCoverage {
    pub name: String,
    pub level: String,
    /// The hooks in use, such as `tp_btf/sched_switch`.
    pub hooks: Vec<String>,
    pub attached: bool,
    pub hits: u64,
    pub run_ns: u64,
    /// Whether `run_ns` was measured: false where none of the hits was timed, so that its 0 means unknown.
    #[serde(default)]
    pub measured: bool,
    /// Why it is not attached, or what a fallback loses.
    pub reason: Option<String>,
}

/// What the profile itself cost the host.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Overhead {
    pub hits: u64,
    /// Time inside eBPF programs: measured by the kernel where it keeps those statistics, else hits × the cost per hit
    /// measured in windows of the run.
    pub run_ns: u64,
    pub run_ns_per_statement: f64,
    /// `kernel` (measured) or `calibrated` (hits × cost per hit).
    pub source: String,
    /// CPU time of pgstrobe itself during the profile.
    pub own_cpu_ns: u64,
    pub own_rss_bytes: u64,
    /// Kernel memory of the maps that programs and pgstrobe share.
    #[serde(default)]
    pub map_bytes: u64,
    /// Hits of probes none of whose hits was timed: what they cost is not in `run_ns`.
    #[serde(default)]
    pub unmeasured_hits: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Statements {
    pub count: u64,
    pub errors: u64,
    /// Exchanges that held several statements under one Sync.
    pub batches: u64,
    /// Statements whose message came together with the one before.
    pub pipelined: u64,
    pub terminated: u64,
    pub sent_bytes: u64,
    pub latency: Hist,
    pub ledger: Ledger,
    pub faults: Faults,
}

/// A latency histogram. `hdr` is the whole of it (HDR V2 + DEFLATE, base64); the rest are its summary.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Hist {
    pub count: u64,
    pub min: u64,
    pub max: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p95: u64,
    pub p99: u64,
    pub p999: u64,
    /// Values above one hour: `hdr` and the percentiles hold them as one hour; `max` and `mean` are exact.
    pub saturated: u64,
    pub hdr: String,
}

/// Wall time and the parts it is made of; the parts sum to `wall_ns`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Ledger {
    pub wall_ns: u64,
    /// Largest first.
    pub parts: Vec<LedgerPart>,
}

/// A report may hold some hundred thousand of these: the names that are constants are not copied into each.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LedgerPart {
    /// `cpu`, `interrupted` (the CPU was taken by interrupts or the hypervisor), `runnable`, `blocked` or `unattributed`;
    /// outside statements also `idle` and `idle_in_transaction`.
    pub state: Word<State>,
    /// Such as `Lock`; none without a wait event.
    pub wait_event_type: Option<Cow<'static, str>>,
    pub wait_event: Option<Cow<'static, str>>,
    /// What the kernel was doing for it: for `blocked` a name of `pgstrobe::cause`; for `runnable` `woken`, `preempted` or
    /// `cpu_quota`.
    pub cause: Option<Word<Cause>>,
    pub ns: u64,
    pub count: u64,
    /// In the ledger of all statements: 99 of 100 statements spent no more than this in the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<u64>,
}

impl LedgerPart {
    /// Its cause, where it has one that this version knows.
    pub fn cause(&self) -> Option<Cause> {
        self.cause.as_ref().and_then(Word::known)
    }
}

/// Statements above a latency, against all others.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Tail {
    /// The latency from which on a statement belongs to the slowest; about one in a hundred does.
    pub from_ns: u64,
    pub count: u64,
    pub ledger: Ledger,
    /// All others.
    pub rest_count: u64,
    pub rest: Ledger,
}

/// One statement.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Slow {
    pub pid: u32,
    /// As in [`Query`].
    pub query_id: String,
    pub query: String,
    pub database: Option<String>,
    pub user: Option<String>,
    /// From the beginning of the profile (of the interval, with several).
    pub began_ns: u64,
    pub latency_ns: u64,
    pub error: bool,
    pub ledger: Ledger,
    /// Who ended its longest wait for another backend.
    pub blocker: Option<Blocker>,
}

/// Waits of one statement class for another, under one wait event.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Blocking {
    /// Such as `Lock` and `transactionid`.
    pub wait_event_type: String,
    pub wait_event: String,
    /// The class that waited, normalised.
    pub query: String,
    /// Backends that waited.
    pub pids: Vec<u32>,
    pub count: u64,
    pub total_ns: u64,
    pub max_ns: u64,
    /// Whom it waited for longest.
    pub blocker: Blocker,
    /// What that one waited for in turn, as words: `pid 12 (UPDATE …) waits for Lock:transactionid of pid 13`, up to the
    /// one that waits for nobody.
    pub chain: Vec<String>,
    /// The backends wait for each other: a deadlock.
    pub cycle: bool,
    /// For a lock of a relation: its number in `pg_class`, and the mode waited for, such as `AccessExclusiveLock`.
    pub relation: Option<u32>,
    pub mode: Option<String>,
    /// Still waiting when the profile ended.
    pub waiting: u64,
}

/// A backend others waited for, as it was when the wait ended or was last looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Blocker {
    pub pid: u32,
    pub role: Word<vocabulary::Role>,
    /// `active`, `idle in transaction` (also when it had been idle until the statement that released the lock), or
    /// `waiting`: it holds nothing, but stands before the others in the queue.
    pub state: Word<BlockerState>,
    /// The statement it was in, or its last one.
    pub query: Option<String>,
    /// How long that had been running.
    pub running_ns: u64,
    /// How long its transaction had been idle, in all.
    pub idle_in_transaction_ns: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Backend {
    pub pid: u32,
    pub role: Word<vocabulary::Role>,
    /// For a parallel worker, the pid of its leader.
    pub leader: Option<u32>,
    /// Its pid inside the server's container, where that has a pid namespace of its own.
    pub namespace_pid: Option<u32>,
    pub database: Option<String>,
    pub user: Option<String>,
    pub application_name: Option<String>,
    pub statements: u64,
    pub errors: u64,
    pub latency: Hist,
    /// Of its statements.
    pub ledger: Ledger,
    /// Of its life outside statements: idle for a client, the work itself for a background role.
    pub outside: Ledger,
    /// From fork to ready for the first statement, when it began during the profile.
    pub startup_ns: Option<u64>,
    /// The parts of that time.
    pub startup: Ledger,
    pub idle_in_transaction: IdleInTransaction,
    /// In statements and outside.
    pub faults: Faults,
    pub fsync: BackendFsync,
    /// `false` when it ended during the profile.
    pub alive: bool,
}

/// Waits for the client inside a transaction, which keeps its locks.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct IdleInTransaction {
    pub count: u64,
    pub total_ns: u64,
    pub max_ns: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BackendFsync {
    pub count: u64,
    pub total_ns: u64,
    pub max_ns: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Role {
    pub role: Word<vocabulary::Role>,
    /// Processes of this role seen.
    pub processes: u64,
    pub statements: u64,
    pub latency: Hist,
    /// Connections started during the profile, from fork to ready.
    pub startup: Hist,
    /// The parts of the start-ups.
    pub startup_ledger: Ledger,
    pub ledger: Ledger,
    pub outside: Ledger,
    pub idle_in_transaction: IdleInTransaction,
    /// Samples of its processes on a CPU, by the wait event they showed there: `Type:Event`, or empty for none.
    pub cpu_samples: std::collections::BTreeMap<String, u64>,
    /// In statements and outside.
    pub faults: Faults,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Query {
    /// Decimal; the server's when it computes one, else pg_query's fingerprint.
    pub query_id: String,
    /// `server`, `fingerprint` or `none`.
    pub query_id_source: String,
    /// Normalised: no literal is left in it, unless `--show-literals`.
    pub query: String,
    /// The server showed only a part of the text.
    pub cut: bool,
    pub database: Option<String>,
    pub user: Option<String>,
    pub calls: u64,
    pub errors: u64,
    pub sent_bytes: u64,
    pub latency: Hist,
    pub ledger: Ledger,
    /// Parallel workers that ended for its statements, and their time from fork to exit, beside that of their leaders.
    pub worker_processes: u64,
    pub workers: Ledger,
    /// As in [`Role`], of its backends and workers.
    pub cpu_samples: std::collections::BTreeMap<String, u64>,
    /// What its statements and their parallel workers read and wrote, by class of file.
    #[serde(skip_serializing_if = "is_default")]
    pub io: StatementIo,
    /// Of its statements and their parallel workers.
    pub faults: Faults,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Unfinished {
    pub pid: u32,
    pub database: Option<String>,
    pub user: Option<String>,
    pub query: Option<String>,
    /// How long it has run within the profile.
    pub elapsed_ns: u64,
    /// It was already running when the profile began.
    pub began_before: bool,
    pub ledger: Ledger,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Fsync {
    pub latency: Hist,
    /// Failed calls.
    pub errors: u64,
    /// Largest total time first.
    pub by: Vec<FsyncBy>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FsyncBy {
    pub role: Word<vocabulary::Role>,
    pub pid: u32,
    /// `fsync`, `fdatasync`, `sync_file_range`, `msync` or `write` (a write that is itself a sync).
    pub syscall: Word<SyncCall>,
    /// `wal`, `relation`, `fsm`, `vm`, `init`, `slru`, `control`, `slot`, `temp`, `directory`, …
    pub file_kind: Word<FileKind>,
    /// Below the data directory where it lies there, else as far as it is known.
    pub file: String,
    /// The relation that the file is or was one of, such as `public.orders`; none where it is not known or none.
    pub relation: Option<String>,
    pub count: u64,
    pub errors: u64,
    pub latency: Hist,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Finding {
    pub id: String,
    /// `info`, `warning` or `critical`.
    pub severity: Word<Severity>,
    pub title: String,
    pub evidence: Vec<String>,
    pub advice: String,
    /// Time of backends the finding explains; 0 where it is not about time.
    pub explained_ns: u64,
    /// `high` (the evidence leaves one cause), `medium` (the usual cause of this evidence) or `low` (one of several).
    pub confidence: Word<Confidence>,
}
