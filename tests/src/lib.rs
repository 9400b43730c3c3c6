//! The harness of the live tests: a throw-away cluster, a load on it, a profile of it, and witnesses that count the
//! same things independently. Each file in `tests/` is one topic.
//!
//! Helpers panic with the full picture: what pgstrobe said, what the kernel and the server logged. A test that cannot
//! run here says why with [`skip!`].

mod activity;
mod aio;
mod attached;
mod block_witness;
mod blocked;
mod bpf;
mod bracket;
mod builds;
mod cgroup;
mod checkpoint_log;
mod client;
mod clocks;
mod disk_load;
mod file_calls;
mod fuse;
mod hogs;
mod holes;
mod lives;
mod load;
mod neighbours;
mod notes;
mod processes;
mod profile;
mod reclaim;
mod slow_disk;
mod slow_wal;
mod stack_witness;
mod standby;
mod stopped;
mod storm;
mod support;
mod trace;
mod trace_events;
mod traps;
mod verdict;
mod wal_disk;
mod wire;
mod witness;
mod writeback;

pub use activity::{Activity, Samples, WITNESS};
pub use aio::{BpftraceReads, Reads, aio_cluster};
pub use block_witness::{BlockTimes, BpftraceBlocks, BpftraceRequests, Micros, RequestTimes};
pub use blocked::{Edges, blocked, blocked_in};
pub use bpf::BpfObjects;
pub use bracket::Bracket;
pub use cgroup::Cgroup;
pub use checkpoint_log::{LoggedCheckpoint, assert_as_logged, log_length, logged_checkpoints};
pub use client::{Exchange, PatientClient, read_late};
pub use clocks::{SetClock, monotonic_ns, suspend};
pub use disk_load::{CROWD_BLOCK, crowd, use_disk};
pub use file_calls::{FileCalls, StraceFiles};
pub use fuse::Fuse;
pub use hogs::{HOG, Hogs};
pub use holes::Holes;
pub use lives::{Life, Lives};
pub use load::{Client, Latencies, Pgbench, PgbenchRun, SELECT, client_over_tcp, copy_in_slowly, psql, psql_fails};
pub use neighbours::{Neighbours, READER, WRITER};
pub use notes::{note, note_hooks};
pub use processes::{backend_types, cpu_ns, own_pid, pids_by_own, pids_taken, run_on_cpu, sleeps_in, switches};
pub use profile::{Profile, Refusal, pgstrobe, refused};
pub use reclaim::{BpftraceReclaims, Reclaims};
pub use slow_disk::{SlowDisk, sectors_written};
pub use slow_wal::SlowWal;
pub use stack_witness::{BpftraceStacks, Slept};
pub use standby::Pair;
pub use stopped::Stopped;
pub use storm::{Visit, storm};
pub use support::Support;
pub use trace::{Trace, Traced};
pub use trace_events::{TraceEvent, TraceEvents};
pub use traps::{Place, has_static_probes, names_functions, places};
pub use verdict::{assert_first, assert_largest, largest, shares, time_of};
pub use wal_disk::WalDisk;
pub use wire::{OnWire, Wire};
pub use witness::{BpftraceSyncs, StraceSyncs, logged_durations, wait_until};
pub use writeback::{BpftraceFlusher, BpftraceSleeps, assert_median, assert_sleeps, stolen_ns};
pub use xtask::cluster::{Cluster, ClusterOptions, unprivileged_user, user};
pub use xtask::loop_disk::{Aligned, LoopDisk, Stat};
pub use xtask::servers::{Build, Kind, Server};

pub use pgstrobe::report::document::Reports;
pub use pgstrobe::report::model::{
    Backend, BlockDevice, BlockNoise, Blocking, FsyncBy, Ledger, LedgerPart, Query, Report,
};

/// Settings under which an idle cluster does nothing of its own, so that two witnesses see the same.
pub const QUIET: &[&str] = &[
    "autovacuum = off",
    "checkpoint_timeout = 1h",
    "max_wal_size = 4GB",
    "bgwriter_lru_maxpages = 0",
    "wal_writer_delay = 10s",
    "max_connections = 120",
    "fsync = on",
];

pub fn quiet_cluster() -> Cluster {
    cluster(ClusterOptions::with(QUIET))
}

/// A quiet cluster with further settings.
pub fn quiet_with(settings: &[&str]) -> Cluster {
    cluster(ClusterOptions::with(&[QUIET, settings].concat()))
}

pub fn cluster(options: ClusterOptions) -> Cluster {
    Cluster::start(options).unwrap_or_else(|error| panic!("no cluster: {error:#}"))
}

/// Notes the reason for `cargo xtask test` and leaves the test.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::note_skip(module_path!(), &format!($($reason)*));
        return;
    }};
}

/// `module` is the caller's; the name of the test has what is below its file.
pub fn note_skip(module: &str, reason: &str) {
    let file = module.split("::").next().unwrap_or(module);
    let test = format!("{file}::{}", notes::test_name());
    eprintln!("SKIPPED {test}: {reason}");
    let Some(path) = std::env::var_os("PGSTROBE_SKIPS") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("{test}: {reason}\n").as_bytes()));
}

/// Whether a program of a witness is installed.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The statements whose normalised text holds `part`.
pub fn queries<'a>(report: &'a Report, part: &str) -> Vec<&'a Query> {
    report.queries.iter().filter(|query| query.query.contains(part)).collect()
}

pub fn calls(report: &Report, part: &str) -> u64 {
    queries(report, part).iter().map(|query| query.calls).sum()
}

pub fn assert_nothing_lost(report: &Report) {
    let lost: Vec<_> = report.coverage.lost.iter().filter(|(_, count)| **count > 0).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(!report.coverage.lost.is_empty(), "the report names no reason for loss, not even with a zero");
}
