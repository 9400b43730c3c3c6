//! Of the report: memory that backends had to free themselves before they got some.

use serde::{Deserialize, Serialize};

use super::sum;
use crate::vocabulary::{Role, Word};

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Memory {
    /// Because the host, or a zone of its memory, had none left (direct reclaim).
    pub host: Reclaim,
    /// Because a memory cgroup was at its limit.
    pub cgroup: Reclaim,
    /// By role and statement class, most time first.
    pub by: Vec<ReclaimBy>,
    /// By process, most time first.
    pub backends: Vec<ReclaimBackend>,
    /// The memory cgroup of the cluster, or the one above it with the tightest limit; none where nothing limits it.
    pub limits: Option<MemoryCgroup>,
}

/// Reclaims by backends, each from its begin to its end.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Reclaim {
    pub count: u64,
    /// Wall time.
    pub total_ns: u64,
    /// Of that, on the CPU.
    pub cpu_ns: u64,
    /// The longest; outside statements perhaps of an earlier interval.
    pub max_ns: u64,
    /// What they gave back to the kernel.
    pub freed_bytes: u64,
}

/// Reclaims of one role and statement class.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ReclaimBy {
    pub role: Word<Role>,
    /// Normalised; of a parallel worker that of its leader; none outside statements.
    pub query: Option<String>,
    pub pids: Vec<u32>,
    pub host: Reclaim,
    pub cgroup: Reclaim,
}

/// Reclaims of one process.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ReclaimBackend {
    pub pid: u32,
    pub role: Word<Role>,
    pub host: Reclaim,
    pub cgroup: Reclaim,
}

/// A memory cgroup with a limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct MemoryCgroup {
    /// Below the root of its hierarchy.
    pub path: String,
    /// Container, pod, systemd unit, or the path.
    pub name: String,
    /// Of cgroups: 1 or 2.
    pub version: u32,
    /// `memory.max`, in version 1 `memory.limit_in_bytes`.
    pub limit_bytes: Option<u64>,
    /// `memory.high`, from which on writers are slowed down; version 2 alone.
    pub high_bytes: Option<u64>,
    /// In use at the end: anonymous memory, shared memory, the page cache.
    pub usage_bytes: u64,
    pub anon_bytes: u64,
    pub shmem_bytes: u64,
    pub file_bytes: u64,
    /// During the profile: how often it was at the limit (`max` of `memory.events`, in version 1 `memory.failcnt`).
    pub limit_hits: u64,
    /// And above `memory.high`.
    pub high_hits: u64,
    /// How often nothing could be freed, and processes killed for it.
    pub oom: u64,
    pub oom_kills: u64,
}

impl ReclaimBy {
    pub fn total_ns(&self) -> u64 {
        sum([self.host.total_ns, self.cgroup.total_ns])
    }
}

impl Memory {
    pub fn total_ns(&self) -> u64 {
        sum([self.host.total_ns, self.cgroup.total_ns])
    }
}
