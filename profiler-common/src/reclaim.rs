//! Memory reclaim by backends themselves: what the kernel side keeps per backend, and sends with a statement that had any.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::Header;

/// Direct reclaim: the host, or a zone of it, has no free memory left (`mm_vmscan_direct_reclaim_*`).
pub const RECLAIM_HOST: usize = 0;
/// A memory cgroup is at its limit (`mm_vmscan_memcg_reclaim_*`).
pub const RECLAIM_CGROUP: usize = 1;
pub const RECLAIM_KINDS: usize = 2;

/// Reclaims from begin to end.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct ReclaimSum {
    pub count: u64,
    /// Wall time in nanoseconds, and how much of it was on the CPU.
    pub ns: u64,
    pub cpu_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// What they freed.
    pub pages: u64,
}

pub type ReclaimSums = [ReclaimSum; RECLAIM_KINDS];

impl ReclaimSum {
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.ns += other.ns;
        self.cpu_ns += other.cpu_ns;
        if other.max_ns > self.max_ns {
            self.max_ns = other.max_ns;
        }
        self.pages += other.pages;
    }

    /// What it has more than `before`. The longest may be of an earlier time.
    pub fn since(&self, before: &Self) -> Self {
        let count = self.count.saturating_sub(before.count);
        let ns = self.ns.saturating_sub(before.ns);
        Self {
            count,
            ns,
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            max_ns: if self.max_ns < ns { self.max_ns } else { ns },
            pages: self.pages.saturating_sub(before.pages),
        }
    }
}

/// Of one backend.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BackendReclaim {
    /// Beginning of the one under way, 0 while there is none, and the CPU time of its account at that moment.
    pub began_ns: u64,
    pub began_cpu_ns: u64,
    /// Of the open statement.
    pub inside: ReclaimSums,
    /// Outside statements, since the process is known.
    pub outside: ReclaimSums,
}

/// [`Reclaimed::flags`]: of the time outside statements, sent when the process ends.
pub const RECLAIM_OUTSIDE: u32 = 1 << 31;

/// Record: what a finished statement reclaimed, or a process outside statements in its whole life. Comes before the record
/// of the statement or the exit.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Reclaimed {
    pub header: Header,
    /// As in [`crate::record::Finished`].
    pub class_key: u64,
    pub start_ns: u64,
    pub flags: u32,
    pub _pad: u32,
    pub sums: ReclaimSums,
}

const _: () = assert!(size_of::<BackendReclaim>() == 16 + 2 * RECLAIM_KINDS * 40);
