//! The kernel makes a backend wait for memory. These tracepoints are met only when it does.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::state::{BACKEND_MEMCG_RECLAIM, HIT_MEMORY};

use crate::{
    globals::enter,
    kernel::{
        self,
        writeback::{dirty_arguments, dirty_limits, pauses},
    },
    ledger, pause, targets,
};

/// Too much memory is dirty: a pause follows at once, if there is one (mm/page-writeback.c). Its arguments differ between
/// kernels; where they are not known, the sleep that follows tells.
#[btf_tracepoint(function = "balance_dirty_pages")]
pub fn balance_dirty_pages(ctx: BtfTracePointContext) -> i32 {
    enter!(HIT_MEMORY);
    if let Some((_, b)) = targets::current() {
        let arguments = dirty_arguments(&ctx);
        if pauses(&ctx, &arguments) {
            // The pause before this one may have just ended: it has limits of its own.
            ledger::settle(b, kernel::current_run_delay());
            pause::begins(b, &dirty_limits(&arguments));
        }
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
