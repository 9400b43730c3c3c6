//! Of the report: WAL and checkpoints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    report::model::{Hist, Ledger},
    vocabulary::{CheckpointCause, Role, Word},
};

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Wal {
    /// What the processes of the cluster wrote, as each of them counts it: `pg_stat_wal` has the same numbers. None where
    /// it could not be read.
    pub written: Option<WalWritten>,
    /// Transactions that wrote and ended, committed or not; none in 13, which does not count them.
    pub transactions: Option<u64>,
    /// Calls that made WAL durable, of all processes, by system call; `write` is one to a file opened with `O_SYNC` or
    /// `O_DSYNC` (`wal_sync_method = open_…`). At the `sample` level there are none.
    pub syncs: BTreeMap<String, u64>,
    /// Roles, most bytes first.
    pub by_role: Vec<WalBy>,
    /// Processes, most bytes first: at most twenty.
    pub by_process: Vec<WalBy>,
    /// Over time, in steps of equal length; of an interval, the first one is what of its step lies in it.
    pub series: Vec<WalStep>,
    pub settings: Option<WalSettings>,
    /// In the order of time; the last 500.
    pub checkpoints: Vec<Checkpoint>,
    /// Statements during checkpoints, against all others; none if there were none.
    pub overlay: Option<Overlay>,
    /// Where WAL is archived: waits of the archiver for its command, and segments that still wait.
    pub archiver: Option<Archiver>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WalWritten {
    /// Without the headers of pages and the gaps between records.
    pub bytes: u64,
    pub records: u64,
    pub full_page_images: u64,
    /// An upper bound: whole pages, where the server leaves out the hole in a page and may compress the rest.
    pub full_page_bytes_at_most: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WalBy {
    pub role: Word<Role>,
    /// None for a whole role.
    pub pid: Option<u32>,
    pub written: WalWritten,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WalStep {
    /// From the beginning of the profile (of the interval, with several).
    pub began_ns: u64,
    pub duration_ns: u64,
    pub written: WalWritten,
}

/// Settings as they were in the checkpointer's memory at the end.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WalSettings {
    pub max_wal_size_bytes: u64,
    pub checkpoint_timeout_ns: u64,
    pub checkpoint_completion_target: f64,
    pub full_page_writes: bool,
    pub segment_bytes: u64,
    /// So many segments after the last checkpoint's beginning the next one is due.
    pub segments_to_checkpoint: u64,
}

/// One checkpoint, or restartpoint, as the server itself keeps it for `log_checkpoints`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Checkpoint {
    /// RFC 3339, UTC, by the server's clock.
    pub started_at: String,
    /// From the beginning of the profile (of the interval); negative where it began before.
    pub began_ns: i64,
    /// Still under way at the end: its numbers are those so far.
    pub running: bool,
    /// The next one followed at once: `total_ns` is up to its beginning.
    pub end_unseen: bool,
    /// Of a standby.
    pub restartpoint: bool,
    /// `wal` (so much was written since the last), `time` (`checkpoint_timeout`), `requested` (CHECKPOINT, a base backup,
    /// CREATE DATABASE, …), `shutdown`, or `unknown`. Inferred from the WAL and the time since the one before.
    pub cause: Word<CheckpointCause>,
    /// From its beginning to the first buffer; writing buffers; syncing files; what comes after (its own record is flushed,
    /// pg_control is written, segments are removed or recycled); and in all.
    pub begin_ns: u64,
    pub write_ns: u64,
    pub sync_ns: u64,
    pub finish_ns: u64,
    pub total_ns: u64,
    pub buffers: u64,
    /// 18 and later.
    pub slru_buffers: Option<u64>,
    pub segments_added: u64,
    pub segments_removed: u64,
    pub segments_recycled: u64,
    /// Files synced, and the longest and the sum of their syncs by the server's own clock.
    pub files: u64,
    pub longest_sync_ns: u64,
    pub sum_sync_ns: u64,
    /// WAL between the beginning of the one before and its own; none where the one before is not known.
    pub distance_bytes: Option<u64>,
    /// The slowest files of its sync phase, as the kernel saw the calls.
    pub slowest_files: Vec<CheckpointFile>,
    /// Statements whose middle lies in it.
    pub statements: Hist,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CheckpointFile {
    pub file: String,
    pub sync_ns: u64,
}

/// Statements during checkpoints and outside. One belongs to where its middle lies.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Overlay {
    pub during: Hist,
    /// Of `during`, those in the phases that write buffers, that sync files, and after that.
    pub write: Hist,
    pub sync: Hist,
    pub finish: Hist,
    pub outside: Hist,
    pub during_ledger: Ledger,
    pub outside_ledger: Ledger,
    /// Classes that took longer during checkpoints, those that lost most first: at most ten.
    pub victims: Vec<Victim>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Victim {
    pub query_id: String,
    pub query: String,
    /// (mean during − mean outside) × statements during.
    pub excess_ns: u64,
    pub during: Hist,
    pub outside: Hist,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Archiver {
    /// Sleeps of the archiver while its command ran, and their time.
    pub waits: u64,
    pub wait_ns: u64,
    /// Segments that wait to be archived, at the end.
    pub ready: u64,
}
