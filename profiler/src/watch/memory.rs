//! The memory cgroup of the cluster, beside what the records tell of reclaim.

use crate::{
    kernel::memcg::{MemoryGroup, Usage},
    report::model::{MemoryCgroup, Report},
};

/// The group that limits the cluster, and how it was when the interval began.
pub struct Memory {
    group: Option<(MemoryGroup, Usage)>,
}

impl Memory {
    pub fn open(postmaster: u32) -> Self {
        let mut this = Self { group: None };
        this.begin(postmaster);
        this
    }

    fn begin(&mut self, postmaster: u32) {
        self.group = MemoryGroup::of(postmaster).map(|group| {
            let usage = group.look();
            (group, usage)
        });
    }

    /// Fills the report of the interval that ends now, and begins the next one. The group of a limit that is set, or a
    /// server that is put there, in between is seen from the next interval on.
    pub fn fill(&mut self, report: &mut Report, postmaster: u32) {
        if self.group.is_none() {
            self.begin(postmaster);
        }
        report.memory.limits = self.group.as_ref().map(|(group, before)| {
            let now = group.look();
            MemoryCgroup {
                path: group.path.clone(),
                name: group.name.clone(),
                version: group.version,
                limit_bytes: now.limit,
                high_bytes: now.high,
                usage_bytes: now.usage,
                anon_bytes: now.anon,
                shmem_bytes: now.shmem,
                file_bytes: now.file,
                limit_hits: now.limit_hits.saturating_sub(before.limit_hits),
                high_hits: now.high_hits.saturating_sub(before.high_hits),
                oom: now.oom.saturating_sub(before.oom),
                oom_kills: now.oom_kills.saturating_sub(before.oom_kills),
            }
        });
        self.begin(postmaster);
    }
}
