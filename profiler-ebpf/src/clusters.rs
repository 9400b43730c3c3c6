//! Which server a backend is of, and what is known of that server.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use pgstrobe_common::{
    cluster::{ClassKey, Cluster, MAX_CLUSTERS},
    state::Backend,
};

/// By number. The kernel puts the look-up into the program itself, bounds check included: it costs a few instructions.
#[map]
static CLUSTERS: Array<Cluster> = Array::with_max_entries(MAX_CLUSTERS, 0);

/// Number of a server by the pid of its postmaster. Asked at forks alone: from then on a backend knows its number.
#[map]
static POSTMASTERS: HashMap<u32, u32> = HashMap::with_max_entries(MAX_CLUSTERS, 0);

/// The server of a backend; none for a number that is out of range.
#[inline(always)]
pub fn of(b: &Backend) -> Option<&'static Cluster> {
    CLUSTERS.get(b.cluster)
}

/// Number of the server whose postmaster that process is.
#[inline(always)]
pub fn of_postmaster(pid: u32) -> Option<u32> {
    // SAFETY: copied at once.
    unsafe { POSTMASTERS.get(pid) }.copied()
}

/// A class of the backend's server.
#[inline(always)]
pub fn class(b: &Backend, key: u64) -> ClassKey {
    ClassKey { key, cluster: b.cluster as u64 }
}

/// Whether a cgroup of the backend's server has a CPU quota.
#[inline(always)]
pub fn quota(b: &Backend) -> bool {
    of(b).is_some_and(|cluster| cluster.quota != 0)
}
