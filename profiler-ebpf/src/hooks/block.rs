//! Requests of the block layer. The tracepoints of queued requests have the queue as their first argument up to 5.10
//! (include/trace/events/block.h).

use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::hits::Hit;

use crate::{
    block,
    globals::{enter, setting},
    instructions::argument,
    kernel::block::{Bio, Request},
};

/// The request among the arguments.
#[inline(always)]
fn subject(ctx: &BtfTracePointContext) -> *const u8 {
    argument(ctx.as_ptr(), setting!(block_queue_first) != 0)
}

#[btf_tracepoint(function = "block_rq_insert")]
pub fn block_rq_insert(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Block);
    block::inserted(Request::argument(subject(&ctx)));
    0
}

#[btf_tracepoint(function = "block_rq_issue")]
pub fn block_rq_issue(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Block);
    block::issued(Request::argument(subject(&ctx)));
    0
}

#[btf_tracepoint(function = "block_rq_requeue")]
pub fn block_rq_requeue(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Block);
    block::requeued(Request::argument(subject(&ctx)));
    0
}

#[btf_tracepoint(function = "block_rq_merge")]
pub fn block_rq_merge(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Block);
    block::merged(Request::argument(subject(&ctx)));
    0
}

/// `(struct request *rq, blk_status_t error, unsigned int nr_bytes)`, on every kernel.
#[btf_tracepoint(function = "block_rq_complete")]
pub fn block_rq_complete(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Block);
    block::completed(Request::argument(ctx.arg::<*const u8>(0)), ctx.arg::<u64>(1) as i32, ctx.arg::<u64>(2) as u32);
    0
}

/// `(struct request_queue *q, struct bio *bio, int rw)` up to 5.10, and then `(struct bio *bio)`: a request is being made for
/// a bio.
#[btf_tracepoint(function = "block_getrq")]
pub fn block_getrq(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Block);
    block::asks_for_flush(Bio::argument(argument(ctx.as_ptr(), setting!(block_queue_before_bio) != 0)));
    0
}
