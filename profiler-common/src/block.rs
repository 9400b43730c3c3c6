//! The block layer as the kernel side counts it: one row for each device, owner and operation.
//!
//! Nothing is sent per request, unless that is asked for ([`crate::trace`]). A request under way has a slot ([`REQUEST_SLOTS`]) in which its times are kept; when it is
//! complete, it is added to its row.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::cluster::MAX_CLUSTERS;

/// What a request does; the `op` of a [`BlockKey`].
pub const OP_READ: u32 = 0;
/// Also zeroing: the kernel's own statistics count it so.
pub const OP_WRITE: u32 = 1;
/// The device makes its cache durable; one such request may serve several that asked for it.
pub const OP_FLUSH: u32 = 2;
pub const OP_DISCARD: u32 = 3;
/// A write without data that asks for a flush, from its beginning to the end of the flush. The kernel's own statistics
/// count it as a write.
pub const OP_SYNC: u32 = 4;
/// Commands that pass the block layer by.
pub const OP_OTHER: u32 = 5;
pub const OPS: u32 = 6;

/// Who began a request; the lower half of the `owner` of a [`BlockKey`].
///
/// Its beginning was not seen: it began before the profile, or the kernel made it out of others.
pub const OWNER_UNSEEN: u32 = 0;
/// A backend: `pid` is its process.
pub const OWNER_BACKEND: u32 = 1;
/// Another process.
pub const OWNER_PROCESS: u32 = 2;
/// A worker of the kernel, whichever: `pid` is 0.
pub const OWNER_KWORKER: u32 = 3;
/// Another thread of the kernel, such as a journal's.
pub const OWNER_THREAD: u32 = 4;
/// There was no room for a row of its own.
pub const OWNER_FOLDED: u32 = 5;
/// Which of the above: the rest is the number of the server.
pub const OWNER: u32 = 0xffff;

/// An owner of this kind (`OWNER_`): of a server, by its backend or by its cgroup, or with [`crate::cluster::NO_CLUSTER`] of none that is known.
pub const fn owner(kind: u32, cluster: u16) -> u32 {
    kind | (cluster as u32) << 16
}

/// Number of the server an owner is of, or [`crate::cluster::NO_CLUSTER`].
pub const fn cluster_of(owner: u32) -> u16 {
    (owner >> 16) as u16
}

/// Added to a cgroup's number that was taken from the request's bio: it is one of the hierarchy of the block
/// controller. Without it, it is one of version 2.
pub const CGROUP_OF_BIO: u64 = 1 << 63;

/// What requests are told apart by.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct BlockKey {
    /// Inode number of the cgroup's directory, with [`CGROUP_OF_BIO`] or without; 0 unknown.
    pub cgroup: u64,
    /// Major number × 2²⁰ + minor number, of the whole disk.
    pub device: u32,
    pub pid: u32,
    pub op: u32,
    /// See [`owner`].
    pub owner: u32,
}

const _: () = assert!(size_of::<BlockKey>() == 24);

/// Buckets of a histogram: below [`HIST_FIRST`], then eight to a power of two up to 2³⁵ ns (34 s), and above.
pub const HIST_BUCKETS: usize = 1 + 25 * 8 + 1;
/// Upper end of the first bucket in nanoseconds, as a power of two.
pub const HIST_FIRST: u32 = 10;

/// Durations in nanoseconds: two buckets of 32 bits in a word, the lower one in the lower half, because only whole words
/// can be added to atomically.
pub type BlockHist = [u64; HIST_WORDS];

/// A power of two: the verifier then sees that an index is within.
pub const HIST_WORDS: usize = 128;

const _: () = assert!(HIST_BUCKETS <= 2 * HIST_WORDS);

/// Bucket of a duration.
#[inline(always)]
pub fn bucket(ns: u64) -> u32 {
    if ns < 1 << HIST_FIRST {
        return 0;
    }
    let power = 63 - ns.leading_zeros();
    let sub = (ns >> (power - 3)) as u32 & 7;
    let bucket = 1 + (power - HIST_FIRST) * 8 + sub;
    if bucket < HIST_BUCKETS as u32 { bucket } else { HIST_BUCKETS as u32 - 1 }
}

/// Lowest value of a bucket, and the first one behind it.
pub fn bounds(bucket: usize) -> (u64, u64) {
    let low = |bucket: usize| match bucket {
        0 => 0,
        _ => (8 + (bucket as u64 - 1) % 8) << (HIST_FIRST as u64 - 3 + (bucket as u64 - 1) / 8),
    };
    (low(bucket), if bucket + 1 < HIST_BUCKETS { low(bucket + 1) } else { low(bucket) * 2 })
}

/// How long requests kept others waiting: each that was complete while a request of a server waited in the same hardware
/// context. Nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Delays {
    pub count: u64,
    pub ns: u64,
    pub max_ns: u64,
    pub hist: BlockHist,
}

impl Delays {
    pub const EMPTY: Self = Self { count: 0, ns: 0, max_ns: 0, hist: [0; HIST_WORDS] };
}

/// Whom requests kept waiting that are not their own server's.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct DelayKey {
    /// Whose requests it were; `op` is 0, as of all of them together.
    pub by: BlockKey,
    /// Number of the server that waited.
    pub victim: u32,
    pub _pad: u32,
}

const _: () = assert!(size_of::<DelayKey>() == 32);

/// Delays of others that are kept apart.
pub const DELAY_ROWS: u32 = 2048;

/// What is known of the requests of one key.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BlockRow {
    /// Name of the process or thread when it began its first request.
    pub comm: [u8; 16],
    /// Complete, and their bytes (those of parts that are complete included).
    pub requests: u64,
    pub bytes: u64,
    /// Merged into another one before they were issued.
    pub merged: u64,
    pub requeued: u64,
    pub failed: u64,
    /// Of those inserted into a scheduler's or a software queue: from there to the last issue. Nanoseconds.
    pub queued: u64,
    pub queue_ns: u64,
    pub queue_max_ns: u64,
    /// Of those whose issue was seen: from the last one to the completion. Nanoseconds.
    pub issued: u64,
    pub device_ns: u64,
    pub device_max_ns: u64,
    pub queue: BlockHist,
    pub device: BlockHist,
    /// How long they kept requests of their own server waiting.
    pub own: Delays,
}

const _: () = assert!(size_of::<BlockRow>() == 16 + 11 * 8 + 2 * size_of::<BlockHist>() + size_of::<Delays>());

impl BlockRow {
    pub const EMPTY: Self = Self {
        comm: [0; 16],
        requests: 0,
        bytes: 0,
        merged: 0,
        requeued: 0,
        failed: 0,
        queued: 0,
        queue_ns: 0,
        queue_max_ns: 0,
        issued: 0,
        device_ns: 0,
        device_max_ns: 0,
        queue: [0; HIST_WORDS],
        device: [0; HIST_WORDS],
        own: Delays::EMPTY,
    };
}

/// Rows that are kept apart. What comes later goes to the rows of [`OWNER_FOLDED`].
pub const BLOCK_ROWS: u32 = 2048;

/// Requests under way that are followed, a power of two: a device has seldom more than some hundred.
pub const REQUEST_SLOTS: u32 = 16_384;
/// Slots in which a request may be, beside each other.
pub const REQUEST_WAYS: u32 = 4;

/// It was inserted, and not yet issued.
pub const REQUEST_QUEUED: u32 = 1;
pub const REQUEST_ISSUED: u32 = 1 << 1;
/// It was given back to the queue, and will be inserted or issued again.
pub const REQUEST_AGAIN: u32 = 1 << 2;
/// It counts as waiting in its hardware context, for the server whose number is in the upper half of the flags.
pub const REQUEST_WAITS: u32 = 1 << 3;
/// Its data is written; its flush may still follow, and complete it once more.
pub const REQUEST_WRITTEN: u32 = 1 << 4;

/// A request under way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RequestSlot {
    /// Its number, made of its address; 0 in a slot that is free.
    pub request: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds; 0 when it did not happen.
    pub inserted_ns: u64,
    pub issued_ns: u64,
    /// `start_time_ns` of the request, which tells two uses of the same memory apart.
    pub started_ns: u64,
    /// Kept when the slot is given back: the next request in it is mostly of the same row.
    pub key: BlockKey,
    pub flags: u32,
    /// Bytes of its parts that are complete; kept only where requests are sent one by one.
    pub parts: u32,
}

const _: () = assert!(size_of::<RequestSlot>() == 64);

/// Hardware contexts that are followed, a power of two.
pub const CONTEXT_SLOTS: u32 = 1024;

/// Servers that wait in one hardware context at a time and are followed there; what others wait for is not seen.
pub const CONTEXT_WAITERS: usize = 4;

/// A hardware context in which requests of servers wait.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextSlot {
    /// Its number, made of its address; 0 in a slot that is free.
    pub context: u64,
    /// Numbers, plus 1, of servers that wait or have waited; 0 where there is room. CPUs may overwrite each other's; who is
    /// missing enters itself again with its next request.
    pub waiters: [u32; CONTEXT_WAITERS],
    /// By number of the server.
    pub waits: [ContextWait; MAX_CLUSTERS as usize],
}

/// Requests of one server in one hardware context.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextWait {
    /// How many are inserted or issued and not complete.
    pub waiting: u64,
    /// Since when the first of them waits, or when the last request of anyone was complete, whichever is later.
    pub since_ns: u64,
}

const _: () = assert!(size_of::<ContextSlot>() == 24 + 16 * MAX_CLUSTERS as usize);

/// What a bio that asks for a flush came from: its request is begun by nobody that can be seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushSlot {
    /// Number of the bio, made of its address; 0 in a slot that is free.
    pub bio: u64,
    pub cgroup: u64,
    pub pid: u32,
    pub owner: u32,
    pub device: u64,
    pub comm: [u8; 16],
}

pub const FLUSH_SLOTS: u32 = 1024;

/// Flushes of one device that servers wait for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedFlushes {
    pub device: u64,
    pub waiting: u64,
    /// Number of the server that asked last: they are served in their order, so that it waits as long as anyone does.
    pub cluster: u64,
}

/// Devices modulo this: where two meet, the one that came first is followed.
pub const WANTED_SLOTS: u32 = 256;

crate::map_values!(BlockKey, BlockRow, RequestSlot, DelayKey, Delays);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_meet_without_gaps() {
        let mut next = 0;
        for one in 0..HIST_BUCKETS - 1 {
            let (low, end) = bounds(one);
            assert_eq!(low, next);
            assert_eq!((bucket(low), bucket(end - 1)), (one as u32, one as u32));
            next = end;
        }
        assert_eq!(next, 1 << 35);
        assert_eq!(bucket(u64::MAX) as usize, HIST_BUCKETS - 1);
        let (low, end) = bounds(100);
        assert!((end - low) * 8 <= low);
    }
}
