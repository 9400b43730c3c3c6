//! Of the report: the block layer: requests by device, cgroup and role, and who delays whom.

use serde::{Deserialize, Serialize};

use crate::{
    report::model::Hist,
    vocabulary::{Operation, OwnerKind, Word},
};

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Block {
    /// Cgroup of the cluster: container, pod, systemd unit, or its path.
    pub cgroup: String,
    /// Those with requests, the busiest first.
    pub devices: Vec<BlockDevice>,
    /// By device, owner and operation, most time first.
    pub by: Vec<BlockBy>,
    /// Who kept the cluster's requests waiting, the longest first.
    pub noise: Vec<BlockNoise>,
}

/// A whole disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BlockDevice {
    /// Such as `nvme0n1`.
    pub device: String,
    /// Major and minor number: `259:0`.
    pub number: String,
    /// `none`, `mq-deadline`, `kyber`, `bfq`; empty when unknown.
    pub scheduler: String,
    /// Time during which it had requests, from the kernel's own statistics (`io_ticks`); none where those are off.
    pub busy_ns: Option<u64>,
    /// Of all processes.
    pub read: BlockRequests,
    pub write: BlockRequests,
    /// Flushes of the device's cache; one may serve several who asked for it.
    pub flush: BlockRequests,
    /// Who asked for a flush without writing, until it was done. iostat counts these as writes.
    pub sync: BlockRequests,
    pub discard: BlockRequests,
    pub other: BlockRequests,
    /// Of the cluster alone: reads, and writes.
    pub cluster_read: BlockRequests,
    pub cluster_write: BlockRequests,
    /// Time during which a request of the cluster waited (inserted or issued, not complete), over all hardware contexts,
    /// by whose request ended each stretch of it: the cluster's own, or others'.
    pub waited_own_ns: u64,
    pub waited_others_ns: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BlockRequests {
    /// Complete, and their bytes.
    pub requests: u64,
    pub bytes: u64,
    /// Requests merged into another one in the queue.
    pub merged: u64,
    /// Given back by the device's driver, and issued again.
    pub requeued: u64,
    pub failed: u64,
    /// From the insertion into the scheduler's queue to the issue. Those that were issued at once are not in it.
    pub queue_time: Hist,
    /// From the issue to the completion.
    pub device_time: Hist,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BlockBy {
    pub device: String,
    /// `read`, `write`, `flush`, `sync`, `discard` or `other`.
    pub operation: Word<Operation>,
    #[serde(flatten)]
    pub owner: BlockOwner,
    #[serde(flatten)]
    pub requests: BlockRequests,
}

/// Who wants a request.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BlockOwner {
    /// It is of the cluster, by its backend or by its cgroup.
    pub cluster: bool,
    /// `backend`, `process`, `kernel worker`, `kernel thread`, `unseen` (its beginning was not seen) or `folded` (no room
    /// for a row of its own).
    pub kind: Word<OwnerKind>,
    /// The role of a backend, else the name of the process or thread.
    pub name: String,
    /// Of a process that is not of the cluster, and of a kernel thread; none for all of a role or kind.
    pub pid: Option<u32>,
    /// Container, pod, systemd unit, or its path; empty when unknown.
    pub cgroup: String,
}

/// Requests that were complete while one of the cluster waited in the same hardware context.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BlockNoise {
    pub device: String,
    #[serde(flatten)]
    pub owner: BlockOwner,
    /// All its requests on the device, and their bytes.
    pub requests: u64,
    pub bytes: u64,
    /// How long each kept the cluster waiting; the stretches do not overlap.
    pub delay: Hist,
}
