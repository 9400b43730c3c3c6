//! The report as plain data: the JSON contract `pgstrobe.report/1`.
//!
//! Every output is a function of [`Report`]; nothing here knows how the data was taken. Durations are nanoseconds,
//! sizes are bytes, query ids are decimal strings. Fields are added, never renamed.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Value of [`Report::schema`].
pub const SCHEMA: &str = "pgstrobe.report/1";

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
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
    pub fsync: Fsync,
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Host {
    pub kernel: String,
    pub cpus: u32,
    pub virtualized: bool,
    pub btf: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Cluster {
    pub postmaster_pid: u32,
    /// Its pid inside its container, where that has a pid namespace of its own.
    #[serde(default)]
    pub namespace_pid: Option<u32>,
    pub version: String,
    pub port: Option<u16>,
    pub data_directory: String,
    pub binary: String,
    /// `socket` or `uprobe`.
    pub boundary: String,
    /// How often the postmaster was replaced during the profile.
    pub restarts: u32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Coverage {
    /// What was lost, by reason; every reason is present, also when it is zero.
    pub lost: std::collections::BTreeMap<String, u64>,
    pub probes: Vec<ProbeCoverage>,
    pub overhead: Overhead,
    /// Plain sentences on what could not be seen and why.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ProbeCoverage {
    pub name: String,
    pub level: String,
    /// The hooks in use, such as `tp_btf/sched_switch`.
    pub hooks: Vec<String>,
    pub attached: bool,
    pub hits: u64,
    pub run_ns: u64,
    /// Why it is not attached, or what a fallback loses.
    pub reason: Option<String>,
}

/// What the profile itself cost the host.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
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
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
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
}

/// A latency histogram. `hdr` is the whole of it (HDR V2 + DEFLATE, base64); the rest are its summary.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
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
    #[serde(default)]
    pub saturated: u64,
    pub hdr: String,
}

/// Wall time and the parts it is made of; the parts sum to `wall_ns`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Ledger {
    pub wall_ns: u64,
    /// Largest first.
    pub parts: Vec<LedgerPart>,
}

/// A report may hold some hundred thousand of these: the names that are constants are not copied into each.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct LedgerPart {
    /// `cpu`, `runnable`, `blocked` or `unattributed`.
    pub state: Cow<'static, str>,
    /// Such as `Lock`; none without a wait event.
    pub wait_event_type: Option<Cow<'static, str>>,
    pub wait_event: Option<Cow<'static, str>>,
    pub cause: Option<Cow<'static, str>>,
    pub ns: u64,
    pub count: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Backend {
    pub pid: u32,
    pub role: String,
    /// For a parallel worker, the pid of its leader.
    pub leader: Option<u32>,
    /// Its pid inside the server's container, where that has a pid namespace of its own.
    #[serde(default)]
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
    pub fsync: BackendFsync,
    /// `false` when it ended during the profile.
    pub alive: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct BackendFsync {
    pub count: u64,
    pub total_ns: u64,
    pub max_ns: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Role {
    pub role: String,
    /// Processes of this role seen.
    pub processes: u64,
    pub statements: u64,
    pub latency: Hist,
    /// Connections started during the profile, from fork to ready.
    pub startup: Hist,
    pub ledger: Ledger,
    pub outside: Ledger,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
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
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
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
pub struct Fsync {
    pub latency: Hist,
    /// Failed calls.
    pub errors: u64,
    /// Largest total time first.
    pub by: Vec<FsyncBy>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct FsyncBy {
    pub role: String,
    pub pid: u32,
    /// `fsync`, `fdatasync`, `sync_file_range`, `msync` or `write` (a write that is itself a sync).
    pub syscall: String,
    /// `wal`, `relation`, `fsm`, `vm`, `init`, `slru`, `control`, `slot`, `temp`, `directory`, …
    pub file_kind: String,
    /// Below the data directory where it lies there, else as far as it is known.
    pub file: String,
    pub count: u64,
    pub errors: u64,
    pub latency: Hist,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Finding {
    pub id: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    pub title: String,
    pub evidence: Vec<String>,
    pub advice: String,
    /// Time of backends the finding explains; 0 where it is not about time.
    #[serde(default)]
    pub explained_ns: u64,
}
