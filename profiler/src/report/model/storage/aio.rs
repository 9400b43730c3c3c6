//! Asynchronous I/O of PostgreSQL 18: how much was under way, and who waited for it.

use serde::{Deserialize, Serialize};

use crate::vocabulary::{Role, Word};

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Aio {
    /// `io_method`: `worker`, `io_uring` or `sync`.
    pub method: String,
    /// `io_max_concurrency`, as the server settled it: operations that one process may have under way.
    pub max_concurrency: u32,
    /// None where the server's memory could not be read; the coverage says why.
    pub depth: Option<AioDepth>,
    /// With `worker` alone.
    pub workers: Option<AioWorkers>,
    /// Waits that another process ended (`IO:AioIoCompletion`), the largest first.
    pub waits: Vec<AioWait>,
}

/// Operations submitted and not known to be done, in looks of one moment each.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AioDepth {
    pub looks: u64,
    /// Looks that saw at least one operation.
    pub busy_looks: u64,
    /// Of all processes, over all looks and over the busy ones.
    pub mean: f64,
    pub busy_mean: f64,
    pub max: u64,
    /// Of one process, of `max_concurrency`.
    pub process_max: u64,
    /// Processes that had operations under way at the same time, at most.
    pub processes_max: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AioWorkers {
    /// `io_workers`.
    pub setting: u32,
    /// Workers at work over the looks: those that waited for nothing to do are not.
    pub busy_mean: f64,
    /// Looks in which all of them were.
    pub all_busy_looks: u64,
}

/// Waits of one class that processes of one role ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AioWait {
    /// Role of those that waited.
    pub role: Word<Role>,
    /// Their class, where they were in a statement.
    pub query: Option<String>,
    /// Role of those that made the reads.
    pub by: Word<Role>,
    pub count: u64,
    pub total_ns: u64,
    pub max_ns: u64,
    /// Of the time, before the worker began the read that ended the wait, while it read, and from then to the wake-up. Only
    /// where `by` is `io worker`; what is missing is of waits whose read was not seen.
    pub queued_ns: u64,
    pub reading_ns: u64,
    pub completing_ns: u64,
    /// Waits whose read went to the device, or waited for it.
    pub from_device: u64,
}
