//! Statement boundary by system call: the last resort, on every kernel with tracefs.
//!
//! Postgres talks to its client through `recv` and `send`, which are `recvfrom` and `sendto` to the kernel. The socket is
//! told by its descriptor.

use aya_ebpf::{EbpfContext, macros::tracepoint, programs::TracePointContext};
use pgstrobe_common::{hits::Hit, state::TEXT_OF_SEND};

use crate::{globals::enter, kernel::Current, statement, targets};

/// Offset of the arguments, and of the result, in the system-call tracepoints (their `format` files).
const ARGUMENTS: usize = 16;

#[inline(always)]
fn argument(ctx: &TracePointContext, n: usize) -> u64 {
    // SAFETY: within the context of a system-call tracepoint.
    unsafe { *ctx.as_ptr().cast::<u8>().add(ARGUMENTS + 8 * n).cast::<u64>() }
}

#[inline(always)]
fn enter(ctx: &TracePointContext) {
    if let Some(b) = targets::current() {
        b.call_fd = argument(ctx, 0) as u32;
        b.call_buf = argument(ctx, 1);
        b.call_len = argument(ctx, 2);
    }
}

#[tracepoint]
pub fn sys_enter_recvfrom(ctx: TracePointContext) -> u32 {
    enter(&ctx);
    0
}

#[tracepoint]
pub fn sys_enter_sendto(ctx: TracePointContext) -> u32 {
    enter(&ctx);
    0
}

#[tracepoint]
pub fn sys_exit_recvfrom(ctx: TracePointContext) -> u32 {
    enter!(Hit::Receive);
    let task = Current::get();
    if let Some(b) = targets::of(task)
        && b.call_len != 0
    {
        let buffer = Some((b.call_buf, b.call_len));
        statement::received(task, b, b.call_fd as u64 + 1, argument(&ctx, 0) as i64, || buffer);
    }
    0
}

#[tracepoint]
pub fn sys_exit_sendto(ctx: TracePointContext) -> u32 {
    enter!(Hit::Send);
    let task = Current::get();
    let ret = argument(&ctx, 0) as i64;
    if let Some(b) = targets::of(task) {
        statement::sends(b);
        if ret > 0 && b.call_len != 0 {
            let complete = ret as u64 == b.call_len;
            statement::sent(task, b, b.call_fd as u64 + 1, ret as u32, b.call_buf, complete, TEXT_OF_SEND);
        }
    }
    0
}
