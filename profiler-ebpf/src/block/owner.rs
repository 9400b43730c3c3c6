//! Whose request it is.
//!
//! Who is current at the first event of a request is who wants it: a task flushes its own plug. A thread of the kernel works
//! for others, and there the cgroup of the bio tells for whom, if it does.

use aya_ebpf::{helpers::generated::bpf_get_current_cgroup_id, macros::map, maps::HashMap};
use pgstrobe_common::{
    block::{
        CGROUP_OF_BIO, OWNER_BACKEND, OWNER_KWORKER, OWNER_PROCESS, OWNER_THREAD, OWNER_UNSEEN, owner as owner_of,
    },
    cluster::{MAX_CLUSTERS, NO_CLUSTER},
};

use crate::{
    kernel::{Current, block::Bio},
    targets,
};

/// Number of a server by its cgroup in the hierarchy of the block controller, where it has one of its own.
#[map]
static BLOCK_CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(MAX_CLUSTERS, 0);

/// include/linux/sched.h.
const PF_WQ_WORKER: u32 = 0x20;
const PF_KTHREAD: u32 = 0x0020_0000;

#[derive(Clone, Copy)]
pub struct Owner {
    pub cgroup: u64,
    pub pid: u32,
    pub owner: u32,
}

/// Cgroup of a bio as keys have it, and the number of the server whose it is.
#[inline(always)]
fn group(bio: Bio) -> (u64, u16) {
    let id = bio.cgroup();
    if id == 0 {
        return (0, NO_CLUSTER);
    }
    // SAFETY: copied at once.
    let cluster = unsafe { BLOCK_CGROUPS.get(id) }.map_or(NO_CLUSTER, |number| *number as u16);
    (id | CGROUP_OF_BIO, cluster)
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
        return Owner { cgroup, pid, owner: owner_of(owner, cluster) };
    }
    let owner = match targets::backend(pid) {
        Some(b) => owner_of(OWNER_BACKEND, b.cluster as u16),
        None => owner_of(OWNER_PROCESS, NO_CLUSTER),
    };
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
    Owner { cgroup, pid: 0, owner: owner_of(OWNER_UNSEEN, cluster) }
}
