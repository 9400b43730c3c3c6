//! Who ended a wait for another backend: whoever wakes a backend out of a lock is the one that released it.

use pgstrobe_common::{
    cluster::Cluster,
    context::NO_SYSCALL,
    lost::Lost,
    record::{STATEMENT_QUERY_ID, WAKE_ACTIVE, WAKE_QUERY_ID, Wake},
    state::{BACKEND_OPEN, Backend, TEXT_OF_WAKE},
};

use crate::{
    aio, emit,
    globals::{now, setting},
    kernel::Current,
    statement, targets,
};

/// Classes of wait events (src/include/utils/wait_classes.h).
const LWLOCK: u32 = 0x01;
const LOCK: u32 = 0x03;
const BUFFER_PIN: u32 = 0x04;
/// The usual sleep: for the client.
const CLIENT: u32 = 0x06;

/// Calls by which one backend wakes another: the semaphore of an LWLock, and the latch of all else. A backend that was only
/// interrupted while a timer woke the other one is in none of them.
/// write, kill, semop, futex, semtimedop, tgkill (arch/x86/entry/syscalls/syscall_64.tbl).
const WAKING_CALLS: [u32; 6] = [1, 62, 65, 202, 220, 234];

/// Whether a task in this call can be the one that wakes; always where the calls of tasks cannot be seen.
#[inline(always)]
fn wakes(syscall: u32) -> bool {
    syscall == NO_SYSCALL && setting!(kernel.regs_orig_ax) == pgstrobe_common::fields::ABSENT
        || WAKING_CALLS.iter().any(|call| *call == syscall)
}

/// A sleeping backend is about to be woken by the current task.
#[inline(always)]
pub fn woken(b: &mut Backend, cluster: &Cluster) {
    let event = b.wait_event_info;
    let class = event >> 24;
    if class == CLIENT {
        return;
    }
    let others = cluster.waits_for_others;
    let group = event != 0 && (event == others[0] || event == others[1] || event == others[2]);
    let aio = event != 0 && event == cluster.wait_for_aio;
    if class != LWLOCK && class != LOCK && class != BUFFER_PIN && !group && !aio {
        return;
    }
    let task = Current::get();
    let Some(waker) = targets::of(task) else { return };
    let pid = waker.pid;
    // One of another server happened to run on the CPU.
    if pid == b.pid || waker.cluster != b.cluster || !wakes(task.syscall()) {
        return;
    }
    if aio {
        return aio::woken(b, pid, waker);
    }
    let now = now();
    let active = waker.flags & BACKEND_OPEN != 0;
    let mut flags = 0;
    // What it works on is read where the wait is worth it: an LWLock is held for microseconds, by much the same classes.
    let class_key = if active && class != LWLOCK { statement::class(waker, &mut flags, TEXT_OF_WAKE) } else { 0 };
    b.waker = pid;
    emit::send(
        Wake {
            header: emit::header::<Wake>(b, now),
            wait_event_info: event,
            waker: pid,
            waited_ns: now - b.wait_began_ns,
            start_ns: if b.flags & BACKEND_OPEN != 0 { b.start_ns } else { 0 },
            class_key,
            last_key: waker.last_key,
            running_ns: if active { now - waker.start_ns } else { 0 },
            idle_ns: waker.transaction_idle_ns,
            flags: if active { WAKE_ACTIVE } else { 0 }
                | if flags & STATEMENT_QUERY_ID != 0 { WAKE_QUERY_ID } else { 0 },
            _pad: 0,
        },
        Lost::OtherRecords,
    );
}
