//! The kernel makes a backend wait for memory, or free some. These tracepoints are met only when it does.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::{
    hits::Hit,
    reclaim::{RECLAIM_CGROUP, RECLAIM_HOST},
    state::BACKEND_MEMCG_RECLAIM,
};

use crate::{
    globals::enter,
    kernel::{
        Current,
        writeback::{dirty_arguments, dirty_limits, pauses},
    },
    ledger, pause, reclaim, targets,
};

/// Too much memory is dirty: a pause follows at once, if there is one (mm/page-writeback.c). Its arguments differ between
/// kernels; where they are not known, the sleep that follows tells.
#[btf_tracepoint(function = "balance_dirty_pages")]
pub fn balance_dirty_pages(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Memory);
    let task = Current::get();
    if let Some(b) = targets::of(task) {
        let arguments = dirty_arguments(&ctx);
        if pauses(&ctx, &arguments) {
            // The pause before this one may have just ended: it has limits of its own.
            ledger::settle_current(b, task);
            pause::begins(b, &dirty_limits(&arguments));
        }
    }
    0
}

#[btf_tracepoint(function = "mm_vmscan_direct_reclaim_begin")]
pub fn direct_reclaim_begin(_ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Memory);
    if let Some(b) = targets::current() {
        reclaim::begins(b);
    }
    0
}

/// `(unsigned long nr_reclaimed)`, as the one of a cgroup (include/trace/events/vmscan.h).
#[btf_tracepoint(function = "mm_vmscan_direct_reclaim_end")]
pub fn direct_reclaim_end(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Memory);
    if let Some(b) = targets::current() {
        reclaim::ends(b, RECLAIM_HOST, ctx.arg(0));
    }
    0
}

#[btf_tracepoint(function = "mm_vmscan_memcg_reclaim_begin")]
pub fn memcg_reclaim_begin(_ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Memory);
    if let Some(b) = targets::current() {
        b.flags |= BACKEND_MEMCG_RECLAIM;
        reclaim::begins(b);
    }
    0
}

#[btf_tracepoint(function = "mm_vmscan_memcg_reclaim_end")]
pub fn memcg_reclaim_end(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Memory);
    if let Some(b) = targets::current() {
        b.flags &= !BACKEND_MEMCG_RECLAIM;
        reclaim::ends(b, RECLAIM_CGROUP, ctx.arg(0));
    }
    0
}
