//! Who is a backend: the map is filled by the loader for those that exist, and at fork for those to come.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use pgstrobe_common::state::Backend;

use crate::globals::{BACKENDS, TARGET};

/// State of a backend, if that process is one.
#[inline(always)]
pub fn backend(pid: u32) -> Option<&'static mut Backend> {
    // SAFETY: a backend is one thread, and only programs in its own context, or the scheduler that switches it, write.
    BACKENDS.get_ptr_mut(pid).map(|b| unsafe { &mut *b })
}

/// The current process, if it is a backend (and this is its main thread).
#[inline(always)]
pub fn current() -> Option<(u32, &'static mut Backend)> {
    let id = bpf_get_current_pid_tgid();
    let pid = id as u32;
    backend(pid).map(|b| (pid, b))
}

/// The postmaster of the cluster, 0 while there is none.
#[inline(always)]
pub fn postmaster() -> u32 {
    TARGET.get(0).map_or(0, |target| target.postmaster)
}
