//! Of the report: writeback, and what makes a backend wait for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    report::model::{Hist, sum},
    vocabulary::{Role, Word},
};

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Writeback {
    /// Handed to the block devices of the whole host by whatever way, syncs and memory reclaim included (`pgpgout` of
    /// /proc/vmstat). Of a device on top of another both count.
    pub written_bytes: u64,
    /// What the kernel's flusher handed to devices, largest first.
    pub by: Vec<WritebackBy>,
    /// The same over time.
    pub timeline: Vec<WritebackSlice>,
    /// Backends made to wait because too much was dirty.
    pub pauses: Pauses,
    pub settings: WritebackSettings,
}

/// What the flusher wrote to one device, for one cgroup and reason.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WritebackBy {
    /// `major:minor`, or a name where the file system has no disk of its own.
    pub device: String,
    /// Such as `sda`.
    pub device_name: Option<String>,
    /// What of the cluster lies there: `data`, `wal`, `tablespace`.
    pub holds: Vec<String>,
    /// Path of the cgroup (version 2) that changed the pages; none for the root, or where it is gone.
    pub cgroup: Option<String>,
    /// `background` (more is dirty than the background limit), `periodic` (dirty for longer than dirty_expire), `sync`,
    /// `vmscan` (memory is short), `foreign_flush`, …
    pub reason: String,
    pub pages: u64,
    pub bytes: u64,
    /// How long the flusher was at it.
    pub busy_ns: u64,
}

/// A stretch of the profile.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WritebackSlice {
    /// From the beginning of the profile (of the interval, with several).
    pub began_ns: u64,
    pub duration_ns: u64,
    /// As [`Writeback::written_bytes`].
    pub written_bytes: u64,
    /// By the flusher, by reason.
    pub flushed_bytes: BTreeMap<String, u64>,
    /// The most seen at a time, of the whole host: looked at twice a second.
    pub dirty_bytes: u64,
    pub writeback_bytes: u64,
    /// Pauses of backends that began in it.
    pub pauses: u64,
    pub paused_ns: u64,
}

/// Pauses of backends by `balance_dirty_pages`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Pauses {
    pub total_ns: u64,
    pub latency: Hist,
    /// Most time first.
    pub by: Vec<PausedBy>,
    /// The longest ones.
    pub longest: Vec<Pause>,
    /// Count and time by second of the profile, for the timeline.
    #[serde(skip)]
    pub seconds: BTreeMap<u64, (u64, u64)>,
}

/// Pauses of one role and statement class.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PausedBy {
    pub role: Word<Role>,
    /// Normalised; none outside statements.
    pub query: Option<String>,
    pub pids: Vec<u32>,
    pub total_ns: u64,
    pub latency: Hist,
}

/// One pause, and what the kernel went by.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Pause {
    pub pid: u32,
    pub role: Word<Role>,
    pub query: Option<String>,
    /// From the beginning of the profile (of the interval, with several).
    pub began_ns: u64,
    pub paused_ns: u64,
    /// As in [`WritebackBy`].
    pub device: String,
    pub device_name: Option<String>,
    /// Dirty memory at that moment, from when on the flusher writes, and the most there may be: of the host, or of the
    /// memory cgroup where that is tighter. 0 when unknown.
    pub dirty_bytes: u64,
    pub background_limit_bytes: u64,
    pub limit_bytes: u64,
    /// The device's own.
    pub device_dirty_bytes: u64,
    pub device_limit_bytes: u64,
    /// What this writer was allowed each second.
    pub allowed_bytes_per_second: u64,
}

/// What decides when pages are written: of the kernel, and of the server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WritebackSettings {
    /// `vm.dirty_background_bytes`; 0 where the ratio holds.
    pub dirty_background_bytes: u64,
    /// Per cent of the memory that can be dirty.
    pub dirty_background_ratio: u64,
    pub dirty_bytes: u64,
    pub dirty_ratio: u64,
    pub dirty_expire_ns: u64,
    pub dirty_writeback_ns: u64,
    /// What these come to on this host (`nr_dirty_background_threshold`, `nr_dirty_threshold` of /proc/vmstat).
    pub background_limit_bytes: u64,
    pub limit_bytes: u64,
    /// The server's settings of these names, 0 for off; none where they could not be read.
    pub backend_flush_after_bytes: Option<u64>,
    pub bgwriter_flush_after_bytes: Option<u64>,
    pub checkpoint_flush_after_bytes: Option<u64>,
}

impl Writeback {
    /// Bytes the flusher wrote, for a reason or, with none, in all.
    pub fn flushed_bytes(&self, reason: Option<&str>) -> u64 {
        sum(self.by.iter().filter(|by| reason.is_none_or(|reason| by.reason == reason)).map(|by| by.bytes))
    }
}
