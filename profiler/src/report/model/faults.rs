//! Of the report: page faults.

use serde::{Deserialize, Serialize};

/// Page faults as the kernel counts them, those in system calls included. How long a backend slept in major ones is in its
/// ledger, under the cause `major_fault`; a fault that comes within a system call sleeps under the cause of that call.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Faults {
    /// The page was in memory, or one of zeros or a copy was made.
    pub minor: u64,
    /// The page had to be read from a disk.
    pub major: u64,
}
