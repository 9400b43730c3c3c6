//! Statement boundary by socket: the tracepoints of sends and receives (6.3 and later).
//!
//! Kernels that run tracepoints with preemption on leave out a program that they interrupted on the same CPU: there each
//! has a second one behind it ([`targets::missed`]).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::state::{
    BACKEND_MET_RECEIVE, BACKEND_MET_SEND, Backend, HIT_RECEIVE, HIT_SEND, TEXT_OF_SEND, TEXT_OF_SEND_AGAIN,
};

use crate::{
    globals::{enter, hit},
    kernel, statement, targets,
};

/// `MSG_PEEK` (include/linux/socket.h).
const MSG_PEEK: u32 = 2;

/// `(struct sock *sk, int ret, int flags)` (include/trace/events/sock.h).
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    enter!(HIT_RECEIVE);
    if let Some((pid, b)) = targets::current() {
        targets::met(b, BACKEND_MET_RECEIVE);
        received(&ctx, pid, b);
    }
    0
}

/// Takes over where the first was left out.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length_again(ctx: BtfTracePointContext) -> i32 {
    if let Some((pid, b)) = targets::missed(BACKEND_MET_RECEIVE) {
        hit(HIT_RECEIVE);
        received(&ctx, pid, b);
    }
    0
}

/// As `sock_recv_length`.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    enter!(HIT_SEND);
    if let Some((pid, b)) = targets::current() {
        targets::met(b, BACKEND_MET_SEND);
        sent(&ctx, pid, b, TEXT_OF_SEND);
    }
    0
}

/// Takes over where the first was left out.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length_again(ctx: BtfTracePointContext) -> i32 {
    if let Some((pid, b)) = targets::missed(BACKEND_MET_SEND) {
        hit(HIT_SEND);
        sent(&ctx, pid, b, TEXT_OF_SEND_AGAIN);
    }
    0
}

#[inline(always)]
fn received(ctx: &BtfTracePointContext, pid: u32, b: &mut Backend) {
    if ctx.arg::<u32>(2) & MSG_PEEK == 0 {
        statement::received(pid, b, ctx.arg(0), ctx.arg::<i32>(1) as i64, kernel::current_buffer);
    }
}

#[inline(always)]
fn sent(ctx: &BtfTracePointContext, pid: u32, b: &mut Backend, text: u32) {
    let ret = ctx.arg::<i32>(1);
    if ret > 0 {
        let (buffer, len) = kernel::current_buffer().unwrap_or((0, ret as u64));
        statement::sent(pid, b, ctx.arg(0), ret as u32, buffer, ret as u64 == len, text);
    }
}
