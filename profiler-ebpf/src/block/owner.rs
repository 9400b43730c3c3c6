//! Whose request it is.
//!
//! Who is current at the first event of a request is who wants it: a task flushes its own plug. A thread of the kernel works
//! for others, and there the cgroup of the bio tells for whom, if it does.

use aya_ebpf::{helpers::generated::bpf_get_current_cgroup_id, macros::map, maps::Array};
use pgstrobe_common::block::{
    CGROUP_OF_BIO, OWNER_BACKEND, OWNER_CLUSTER, OWNER_KWORKER, OWNER_PROCESS, OWNER_THREAD, OWNER_UNSEEN,
};

use crate::{
    kernel::{Current, block::Bio},
    targets,
};

/// Cgroup of the cluster in the hierarchy of the block controller, where it has one of its own; else 0.
#[map]
static BLOCK_CGROUP: Array<u64> = Array::with_max_entries(1, 0);

/// include/linux/sched.h.
const PF_WQ_WORKER: u32 = 0x20;
const PF_KTHREAD: u32 = 0x0020_0000;

#[derive(Clone, Copy)]
pub struct Owner {
    pub cgroup: u64,
    pub pid: u32,
    pub owner: u32,
}

/// Cgroup of a bio as keys have it, and [`OWNER_CLUSTER`] if it is that of the cluster.
#[inline(always)]
fn group(bio: Bio) -> (u64, u32) {
    let id = bio.cgroup();
    if id == 0 {
        return (0, 0);
    }
    let cluster = BLOCK_CGROUP.get(0).is_some_and(|cluster| *cluster == id);
    (id | CGROUP_OF_BIO, if cluster { OWNER_CLUSTER } else { 0 })
}

/// Of a request that begins now.
#[inline(always)]
pub fn of(bio: Bio) -> Owner {
    let task = Current::get();
    let (pid, flags) = (task.process(), task.flags());
    if pid == 0 || flags & (PF_KTHREAD | PF_WQ_WORKER) != 0 {
        let (cgroup, cluster) = group(bio);
        let worker = pid == 0 || flags & PF_WQ_WORKER != 0;
        let (pid, owner) = if worker { (0, OWNER_KWORKER) } else { (pid, OWNER_THREAD) };
        return Owner { cgroup, pid, owner: owner | cluster };
    }
    let owner = if targets::backend(pid).is_some() { OWNER_BACKEND | OWNER_CLUSTER } else { OWNER_PROCESS };
    // The group of version 2 is the process's own, where that of the block controller may be one above it. The root has
    // the number 1 (fs/kernfs/dir.c).
    // SAFETY: a helper without arguments.
    let own = unsafe { bpf_get_current_cgroup_id() };
    Owner { cgroup: if own > 1 { own } else { group(bio).0 }, pid, owner }
}

/// Of a request that ends and whose beginning was not seen.
#[inline(always)]
pub fn unseen(bio: Bio) -> Owner {
    let (cgroup, cluster) = group(bio);
    Owner { cgroup, pid: 0, owner: OWNER_UNSEEN | cluster }
}
