//! Statement boundary by socket: the tracepoints of sends and receives (6.3 and later).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::state::{HIT_RECEIVE, HIT_SEND};

use crate::{globals::enter, kernel, statement, targets};

/// `MSG_PEEK` (include/linux/socket.h).
const MSG_PEEK: u32 = 2;

/// `(struct sock *sk, int ret, int flags)` (include/trace/events/sock.h).
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    enter!(HIT_RECEIVE);
    if ctx.arg::<u32>(2) & MSG_PEEK == 0
        && let Some((pid, b)) = targets::current()
    {
        statement::received(pid, b, ctx.arg(0), ctx.arg::<i32>(1) as i64, kernel::current_buffer);
    }
    0
}

/// As `sock_recv_length`.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    enter!(HIT_SEND);
    let ret = ctx.arg::<i32>(1);
    if ret > 0
        && let Some((pid, b)) = targets::current()
    {
        let (buffer, len) = kernel::current_buffer().unwrap_or((0, ret as u64));
        statement::sent(pid, b, ctx.arg(0), ret as u32, buffer, ret as u64 == len);
    }
    0
}
