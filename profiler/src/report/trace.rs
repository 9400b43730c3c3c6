//! Block requests one by one, as plain data: the contract `pgstrobe.trace/1`. Field names are part of the interface: add,
//! never rename. Durations in nanoseconds, sizes in bytes.

pub mod json;
pub mod text;

use serde::{Deserialize, Serialize};

use super::model::{BlockOwner, Coverage};
use crate::vocabulary::{Operation, Word};

pub const SCHEMA: &str = "pgstrobe.trace/1";

/// One line of the JSON: first [`Begin`], last [`End`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Line {
    Begin(Begin),
    Request(Request),
    End(Box<End>),
}

/// What is traced.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Begin {
    pub schema: String,
    /// Of pgstrobe.
    pub version: String,
    /// Time of day from which the times of the requests count.
    pub started_at: String,
    pub postmaster_pid: u32,
    pub server_version: String,
    pub port: Option<u16>,
    pub data_directory: String,
    /// Requests of others too.
    pub all: bool,
    /// The only device; none for all.
    pub device: Option<String>,
    /// Requests that took less are left out.
    pub min_ns: u64,
}

/// A request that is complete.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Request {
    /// When it was complete, after `started_at`.
    pub completed_ns: u64,
    /// The whole disk, such as `nvme0n1`.
    pub device: String,
    /// `read`, `write`, `flush`, `sync`, `discard` or `other`, as in the report.
    pub operation: Word<Operation>,
    /// Those of `sync` (somebody waits for it), `meta` (of the file system itself), `fua` (durable when it is complete),
    /// `preflush` (the device's cache first) and `readahead` that it was complete with.
    pub flags: Vec<String>,
    /// The first one, of 512 bytes, from the beginning of the disk; none where it has no place.
    pub sector: Option<u64>,
    pub bytes: u64,
    /// From the insertion into the scheduler's queue to the last issue; none where it was issued at once, or its beginning
    /// was not seen.
    pub queue_ns: Option<u64>,
    /// From the last issue to the end; of a `sync`, from its beginning. None where that was not seen.
    pub device_ns: Option<u64>,
    pub error: Option<String>,
    /// Here a backend has its pid too.
    #[serde(flatten)]
    pub owner: BlockOwner,
}

/// How far the trace can be trusted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct End {
    pub duration_ns: u64,
    /// Sent by the kernel side, and so written before.
    pub requests: u64,
    pub coverage: Coverage,
}
