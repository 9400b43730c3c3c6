//! What requests add up to: one row for each device, owner and operation.

use aya_ebpf::{
    helpers::bpf_get_current_comm,
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use pgstrobe_common::{
    block::{
        BLOCK_ROWS, BlockHist, BlockKey, BlockRow, HIST_WORDS, OWNER_FOLDED, RequestSlot, bucket, cluster_of, owner,
    },
    cluster::NO_CLUSTER,
    lost::Lost,
};

use crate::{
    globals::lost,
    instructions::{add, below},
};

/// `BPF_NOEXIST` (include/uapi/linux/bpf.h).
pub const NOEXIST: u64 = 1;

/// Shared by all CPUs: a process does its input and output on one or two at a time.
#[map]
static BLOCKS: HashMap<BlockKey, BlockRow> = HashMap::with_max_entries(BLOCK_ROWS, 0);

/// An empty row, too large for the stack.
#[map]
static NEW_BLOCK: PerCpuArray<BlockRow> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
pub fn count(hist: &mut BlockHist, ns: u64) {
    let bucket = bucket(ns);
    // SAFETY: the index is below the length.
    add(unsafe { hist.get_unchecked_mut(below::<{ HIST_WORDS as i32 }>(bucket / 2)) }, 1 << (bucket % 2 * 32));
}

/// Makes the row of a key, unless it is there: the key to use, which is that of a folded row where there is no room: of the
/// same server, or of none.
/// `comm` is the name to keep, or else that of the current task.
#[inline(always)]
pub fn ensure(key: BlockKey, comm: Option<[u8; 16]>) -> BlockKey {
    if BLOCKS.get_ptr_mut(key).is_some() {
        return key;
    }
    let Some(fresh) = NEW_BLOCK.get_ptr_mut(0) else { return key };
    // SAFETY: this CPU's. Where another task comes in between, only the name may be that one's.
    let fresh = unsafe { &mut *fresh };
    fresh.comm = comm.unwrap_or_else(|| bpf_get_current_comm().unwrap_or_default());
    // Not over one that another CPU made meanwhile.
    let _ = BLOCKS.insert(key, &*fresh, NOEXIST);
    if BLOCKS.get_ptr_mut(key).is_some() {
        return key;
    }
    let folded = BlockKey { cgroup: 0, pid: 0, owner: owner(OWNER_FOLDED, cluster_of(key.owner)), ..key };
    if BLOCKS.get_ptr_mut(folded).is_some() {
        return folded;
    }
    BlockKey { owner: owner(OWNER_FOLDED, NO_CLUSTER), ..folded }
}

#[inline(always)]
pub fn find(key: &BlockKey) -> Option<&'static mut BlockRow> {
    let known = |key: &BlockKey| {
        // SAFETY: all is added atomically, and userspace removes a row only when no request of it is under way.
        BLOCKS.get_ptr_mut(key).map(|row| unsafe { &mut *row })
    };
    if let Some(row) = known(key) {
        return Some(row);
    }
    // Removed with the process of that number before.
    let row = known(&ensure(*key, None));
    if row.is_none() {
        lost(Lost::BlockRequests);
    }
    row
}

#[inline(always)]
pub fn requeued(key: &BlockKey) {
    if let Some(row) = find(key) {
        add(&mut row.requeued, 1);
    }
}

#[inline(always)]
pub fn merged(key: &BlockKey) {
    if let Some(row) = find(key) {
        add(&mut row.merged, 1);
    }
}

/// A part of a request is complete.
#[inline(always)]
pub fn part(row: &mut BlockRow, bytes: u32) {
    add(&mut row.bytes, bytes as u64);
}

/// The rest of a request is complete, and so the whole.
#[inline(always)]
pub fn whole(row: &mut BlockRow, error: i32, bytes: u32) {
    add(&mut row.requests, 1);
    add(&mut row.bytes, bytes as u64);
    if error != 0 {
        add(&mut row.failed, 1);
    }
}

#[inline(always)]
pub fn times(row: &mut BlockRow, slot: &RequestSlot, now: u64) {
    if slot.issued_ns == 0 {
        return;
    }
    if slot.inserted_ns != 0 {
        let ns = slot.issued_ns - slot.inserted_ns;
        add(&mut row.queued, 1);
        add(&mut row.queue_ns, ns);
        count(&mut row.queue, ns);
        if ns > row.queue_max_ns {
            row.queue_max_ns = ns;
        }
    }
    served(row, now - slot.issued_ns);
}

#[inline(always)]
pub fn served(row: &mut BlockRow, ns: u64) {
    add(&mut row.issued, 1);
    add(&mut row.device_ns, ns);
    count(&mut row.device, ns);
    if ns > row.device_max_ns {
        row.device_max_ns = ns;
    }
}
