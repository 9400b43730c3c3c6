//! Who is a backend: the map is filled by the loader for those that exist, and at fork for those to come.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use pgstrobe_common::state::{BACKEND_SLOTS, Backend};

use crate::{
    globals::{ANY_CROWDED, BACKENDS, CROWDED, setting},
    kernel::Current,
};

/// State of a backend, if that process is one.
#[inline(always)]
pub fn backend(pid: u32) -> Option<&'static mut Backend> {
    // SAFETY: a backend is one thread, and only programs in its own context, or the scheduler that switches it, write.
    let slot = BACKENDS.get_ptr_mut(pid & (BACKEND_SLOTS - 1)).map(|b| unsafe { &mut *b })?;
    if slot.pid == pid {
        return Some(slot);
    }
    match ANY_CROWDED.get(0) {
        // SAFETY: as above.
        Some(1) => CROWDED.get_ptr_mut(pid).map(|b| unsafe { &mut *b }),
        _ => None,
    }
}

/// Enters a new backend; `false` when there is no room.
#[inline(always)]
pub fn enter(fresh: &Backend) -> bool {
    let Some(slot) = BACKENDS.get(fresh.pid & (BACKEND_SLOTS - 1)) else { return false };
    // Its own pid: the end of an earlier process of that number was not seen.
    if slot.pid == 0 || slot.pid == fresh.pid {
        return BACKENDS.set(fresh.pid & (BACKEND_SLOTS - 1), fresh, 0).is_ok();
    }
    let _ = ANY_CROWDED.set(0, 1, 0);
    CROWDED.insert(fresh.pid, fresh, 0).is_ok()
}

/// Forgets a backend.
#[inline(always)]
pub fn leave(b: &mut Backend) {
    let pid = b.pid;
    b.pid = 0;
    if let Some(1) = ANY_CROWDED.get(0) {
        let _ = CROWDED.remove(pid);
    }
}

/// The current process, if it is a backend (and this is its main thread).
#[inline(always)]
pub fn current() -> Option<&'static mut Backend> {
    backend(bpf_get_current_pid_tgid() as u32)
}

/// As [`current`], for a program that asks more of the task.
#[inline(always)]
pub fn of(task: Current) -> Option<&'static mut Backend> {
    backend(task.pid())
}

/// Notes that the first of two programs met an event, for the second one ([`missed`]).
#[inline(always)]
pub fn met(b: &mut Backend, event: u32) {
    if setting!(twice) != 0 {
        b.flags |= event;
    }
}

/// The current process, if it is a backend and the first of two programs did not meet the event that is under way.
#[inline(always)]
pub fn missed(task: Current, event: u32) -> Option<&'static mut Backend> {
    let b = of(task)?;
    let met = b.flags & event != 0;
    b.flags &= !event;
    if met { None } else { Some(b) }
}
