//! Block requests one by one: a record for each as it is complete, only on request.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{block::BlockKey, record::Header};

/// Which requests are sent ([`crate::state::Settings::trace`]).
pub const TRACE_NONE: u32 = 0;
/// Those of the cluster.
pub const TRACE_OWN: u32 = 1;
pub const TRACE_ALL: u32 = 2;

/// A request that is complete: `header.ts_ns` is its end, `header.pid` that of its key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Traced {
    pub header: Header,
    /// `CLOCK_MONOTONIC` in nanoseconds: when it was inserted, and last issued; 0 when that did not happen or was not seen.
    pub inserted_ns: u64,
    pub issued_ns: u64,
    /// Of 512 bytes, from the beginning of the disk.
    pub sector: u64,
    pub key: BlockKey,
    /// Operation and flags (`blk_opf_t`) at its end.
    pub flags: u32,
    /// What the tracepoint has: a negative error number on some kernels, a `blk_status_t` on others; 0 for none.
    pub error: i32,
    /// All of it, parts that were complete before included.
    pub bytes: u32,
    pub _pad: u32,
    /// Name of the process or thread when it began a request; empty for backends and workers.
    pub comm: [u8; 16],
}

/// Names of processes that are remembered by the kernel side, the last ones.
pub const TRACED_NAMES: u32 = 4096;
