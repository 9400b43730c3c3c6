//! The kernel makes a backend wait for memory. These tracepoints are met only when it does.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::state::{BACKEND_MEMCG_RECLAIM, HIT_MEMORY};

use crate::{
    globals::{enter, now},
    targets,
};

/// Too much memory is dirty: a pause follows at once, if there is one (mm/page-writeback.c). Its arguments differ between
/// kernels and are not needed.
#[btf_tracepoint(function = "balance_dirty_pages")]
pub fn balance_dirty_pages(_ctx: BtfTracePointContext) -> i32 {
    enter!(HIT_MEMORY);
    if let Some((_, b)) = targets::current() {
        b.dirty_ns = now();
    }
    0
}

#[btf_tracepoint(function = "mm_vmscan_memcg_reclaim_begin")]
pub fn memcg_reclaim_begin(_ctx: BtfTracePointContext) -> i32 {
    enter!(HIT_MEMORY);
    if let Some((_, b)) = targets::current() {
        b.flags |= BACKEND_MEMCG_RECLAIM;
    }
    0
}

#[btf_tracepoint(function = "mm_vmscan_memcg_reclaim_end")]
pub fn memcg_reclaim_end(_ctx: BtfTracePointContext) -> i32 {
    enter!(HIT_MEMORY);
    if let Some((_, b)) = targets::current() {
        b.flags &= !BACKEND_MEMCG_RECLAIM;
    }
    0
}
