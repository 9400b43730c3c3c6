//! Waits of PostgreSQL 18 for a read that another process makes: who ended them, and when that process made its read.

use pgstrobe_common::{
    aio::{AIO_FROM_DEVICE, AioWake},
    context,
    lost::Lost,
    state::{BACKEND_OPEN, BACKEND_SLEPT, Backend},
};

use crate::{emit, globals::now};

/// The current task, a backend of that pid, ends the sleeper's wait.
#[inline(always)]
pub fn woken(b: &mut Backend, pid: u32, waker: &Backend) {
    let now = now();
    let call = &waker.file_call;
    let waited =
        waker.off_ns >= call.last_began_ns && waker.flags & BACKEND_SLEPT != 0 && waker.context & context::IOWAIT != 0;
    b.waker = pid;
    emit::send(
        AioWake {
            header: emit::header::<AioWake>(b, now),
            waker: pid,
            flags: if waited || call.device_read_bytes != 0 { AIO_FROM_DEVICE } else { 0 },
            waited_ns: now - b.wait_began_ns,
            start_ns: if b.flags & BACKEND_OPEN != 0 { b.start_ns } else { 0 },
            call_began_ns: call.last_began_ns,
            call_ended_ns: call.last_ended_ns,
        },
        Lost::OtherRecords,
    );
}
