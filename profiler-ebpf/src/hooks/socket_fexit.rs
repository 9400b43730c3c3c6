//! Statement boundary by socket where the tracepoints do not exist: `fexit` of the socket calls.

use aya_ebpf::{macros::fexit, programs::FExitContext};
use pgstrobe_common::{hits::Hit, state::TEXT_OF_SEND};

use crate::{globals::enter, kernel::Current, statement, targets};

const MSG_PEEK: u32 = 2;

/// `int sock_recvmsg(struct socket *sock, struct msghdr *msg, int flags)` (net/socket.c).
#[fexit(function = "sock_recvmsg")]
pub fn sock_recvmsg(ctx: FExitContext) -> i32 {
    enter!(Hit::Receive);
    let task = Current::get();
    if ctx.arg::<u32>(2) & MSG_PEEK == 0
        && let Some(b) = targets::of(task)
    {
        statement::received(task, b, ctx.arg(0), ctx.arg::<i32>(3) as i64, || task.buffer());
    }
    0
}

/// `int sock_sendmsg(struct socket *sock, struct msghdr *msg)` (net/socket.c; the loader may attach it to a later name).
#[fexit(function = "sock_sendmsg")]
pub fn sock_sendmsg(ctx: FExitContext) -> i32 {
    enter!(Hit::Send);
    let task = Current::get();
    let ret = ctx.arg::<i32>(2);
    if let Some(b) = targets::of(task) {
        statement::sends(b);
        if ret > 0 {
            let (buffer, len) = task.buffer().unwrap_or((0, ret as u64));
            statement::sent(task, b, ctx.arg(0), ret as u32, buffer, ret as u64 == len, TEXT_OF_SEND);
        }
    }
    0
}
