//! Writeback: what the kernel side counts of the flusher's work, and what a pause of a writer comes with.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `balance_dirty_pages` has arguments that are not known here ([`crate::state::Settings::dirty_arguments`]).
pub const DIRTY_ARGUMENTS_UNKNOWN: u32 = 0;
/// Twelve: `(wb, thresh, bg_thresh, dirty, bdi_thresh, bdi_dirty, dirty_ratelimit, task_ratelimit, dirtied, period, pause,
/// start_time)` (include/trace/events/writeback.h up to 6.13).
pub const DIRTY_ARGUMENTS_PLAIN: u32 = 1;
/// Eight: `(wb, dtc, dirty_ratelimit, task_ratelimit, dirtied, period, pause, start_time)`, where the thresholds are in a
/// `struct dirty_throttle_control`.
pub const DIRTY_ARGUMENTS_STRUCT: u32 = 2;

/// Bytes taken of a device's name, as in the kernel's own events.
pub const DEVICE_LEN: usize = 32;

/// What written pages are counted by.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct WritebackKey {
    /// `major:minor` of the disk, zero-terminated; a name where a file system has no disk of its own.
    pub device: [u8; DEVICE_LEN],
    /// Inode of the cgroup (version 2) that changed the pages, 0 when the kernel does not keep them apart.
    pub cgroup: u64,
    /// `enum wb_reason`.
    pub reason: u32,
    pub _pad: u32,
}

/// What the flusher did under a key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WritebackSum {
    /// Pages handed to the device.
    pub pages: u64,
    /// Steps of the flusher (one `wb_writeback` turn), and the time they took, nanoseconds.
    pub steps: u64,
    pub busy_ns: u64,
}

/// A step of the flusher under way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct WritebackStep {
    /// Pages that were left to write when it began.
    pub left: i64,
    pub began_ns: u64,
}

/// What the kernel went by when it made a writer pause. All but the last in pages.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DirtyLimits {
    /// Dirty memory, the amount from which on the flusher writes, and the most there may be: of the host, or of the memory
    /// cgroup where that is the tighter limit. 0 when unread.
    pub dirty: u64,
    pub background: u64,
    pub limit: u64,
    /// The same of the device alone.
    pub device_dirty: u64,
    pub device_limit: u64,
    /// Pages a second that this writer is allowed.
    pub rate: u64,
    /// As [`WritebackKey::device`].
    pub device: [u8; DEVICE_LEN],
}

const _: () = assert!(size_of::<WritebackKey>() == DEVICE_LEN + 16);
const _: () = assert!(size_of::<WritebackSum>() == 24);
const _: () = assert!(size_of::<WritebackStep>() == 16);
const _: () = assert!(size_of::<DirtyLimits>() == 48 + DEVICE_LEN);

crate::map_values!(WritebackKey, WritebackSum);
