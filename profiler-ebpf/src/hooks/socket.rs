//! Statement boundary by socket: the tracepoints of sends and receives (6.3 and later).
//!
//! Kernels that run tracepoints with preemption on leave out a program that they interrupted on the same CPU: there each
//! has a second one behind it ([`targets::missed`]).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::{
    hits::Hit,
    state::{BACKEND_MET_RECEIVE, BACKEND_MET_SEND, Backend, TEXT_OF_SEND, TEXT_OF_SEND_AGAIN},
};

use crate::{
    globals::{enter, hit},
    kernel::Current,
    statement, targets,
};

/// `MSG_PEEK` (include/linux/socket.h).
const MSG_PEEK: u32 = 2;

/// `(struct sock *sk, int ret, int flags)` (include/trace/events/sock.h).
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Receive);
    let task = Current::get();
    if let Some(b) = targets::of(task) {
        targets::met(b, BACKEND_MET_RECEIVE);
        received(&ctx, task, b);
    }
    0
}

/// Takes over where the first was left out.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length_again(ctx: BtfTracePointContext) -> i32 {
    let task = Current::get();
    if let Some(b) = targets::missed(task, BACKEND_MET_RECEIVE) {
        hit(Hit::Receive);
        received(&ctx, task, b);
    }
    0
}

/// As `sock_recv_length`.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Send);
    let task = Current::get();
    if let Some(b) = targets::of(task) {
        targets::met(b, BACKEND_MET_SEND);
        sent(&ctx, task, b, TEXT_OF_SEND);
    }
    0
}

/// Takes over where the first was left out.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length_again(ctx: BtfTracePointContext) -> i32 {
    let task = Current::get();
    if let Some(b) = targets::missed(task, BACKEND_MET_SEND) {
        hit(Hit::Send);
        sent(&ctx, task, b, TEXT_OF_SEND_AGAIN);
    }
    0
}

#[inline(always)]
fn received(ctx: &BtfTracePointContext, task: Current, b: &mut Backend) {
    if ctx.arg::<u32>(2) & MSG_PEEK == 0 {
        statement::received(task, b, ctx.arg(0), ctx.arg::<i32>(1) as i64, || task.buffer());
    }
}

#[inline(always)]
fn sent(ctx: &BtfTracePointContext, task: Current, b: &mut Backend, text: u32) {
    statement::sends(b);
    let ret = ctx.arg::<i32>(1);
    if ret > 0 {
        let (buffer, len) = task.buffer().unwrap_or((0, ret as u64));
        statement::sent(task, b, ctx.arg(0), ret as u32, buffer, ret as u64 == len, text);
    }
}
