//! The memory cgroup of the cluster, beside what the records tell of reclaim.

use serde::{Deserialize, Serialize};

use crate::{
    kernel::memcg::{MemoryGroup, Usage},
    report::model::{MemoryCgroup, Report},
    time::{Gain, Merge, Since},
};

/// The group that limits the cluster, and its counts.
pub struct Memory {
    group: Option<(MemoryGroup, Since<Usage>)>,
}

/// What came of the limit in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// None where nothing limits the cluster.
    limits: Option<MemoryCgroup>,
}

impl Memory {
    pub fn open(postmaster: u32) -> Self {
        let mut this = Self { group: None };
        this.follow(postmaster);
        this
    }

    /// Another limit may be set, or the server be put into another group.
    fn follow(&mut self, postmaster: u32) {
        let group = MemoryGroup::of(postmaster);
        if self.group.as_ref().map(|(known, _)| known) != group.as_ref() {
            self.group = group.map(|group| {
                let usage = group.look();
                (group, Since::from(usage))
            });
        }
    }

    /// What there was since the last cut. The group of a limit that is set, or a server that is put there, in between is seen
    /// from the next one on.
    pub fn cut(&mut self, postmaster: u32) -> Cut {
        if self.group.is_none() {
            self.follow(postmaster);
        }
        let limits = self.group.as_mut().map(|(group, counts)| limits(group, counts.take(group.look())));
        self.follow(postmaster);
        Cut { limits }
    }
}

impl Cut {
    pub fn fill(&self, report: &mut Report) {
        report.memory.limits.clone_from(&self.limits);
    }
}

impl Merge for Cut {
    /// Limits and levels are those of the end; counts are of whichever group limited the cluster at its time.
    fn merge(&mut self, later: Self) {
        let Some(later) = later.limits else { return };
        let before = self.limits.take().unwrap_or_default();
        self.limits = Some(MemoryCgroup {
            limit_hits: before.limit_hits + later.limit_hits,
            high_hits: before.high_hits + later.high_hits,
            oom: before.oom + later.oom,
            oom_kills: before.oom_kills + later.oom_kills,
            ..later
        });
    }
}

/// Counts; the rest is as it is now.
impl Gain for Usage {
    fn since(&self, before: &Self) -> Self {
        Self {
            limit_hits: self.limit_hits.since(&before.limit_hits),
            high_hits: self.high_hits.since(&before.high_hits),
            oom: self.oom.since(&before.oom),
            oom_kills: self.oom_kills.since(&before.oom_kills),
            ..*self
        }
    }
}

fn limits(group: &MemoryGroup, usage: Usage) -> MemoryCgroup {
    MemoryCgroup {
        path: group.path.clone(),
        name: group.name.clone(),
        version: group.version,
        limit_bytes: usage.limit,
        high_bytes: usage.high,
        usage_bytes: usage.usage,
        anon_bytes: usage.anon,
        shmem_bytes: usage.shmem,
        file_bytes: usage.file,
        limit_hits: usage.limit_hits,
        high_hits: usage.high_hits,
        oom: usage.oom,
        oom_kills: usage.oom_kills,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_parts_are_the_whole() {
        let group = MemoryGroup::default();
        let looks = [(7, 100), (9, 300), (20, 200)].map(|(hits, usage)| Usage {
            limit_hits: hits,
            oom: hits * 2,
            usage,
            ..Usage::default()
        });
        let cut =
            |counts: &mut Since<Usage>, now: &Usage| Cut { limits: Some(limits(&group, counts.take(now.clone()))) };
        let whole = cut(&mut Since::from(looks[0].clone()), &looks[2]);
        let (mut counts, mut merged) = (Since::from(looks[0].clone()), Cut::default());
        looks[1..].iter().for_each(|now| merged.merge(cut(&mut counts, now)));
        merged.merge(Cut::default());
        assert_eq!(merged, whole);
        let mut report = Report::default();
        merged.fill(&mut report);
        let limits = report.memory.limits.expect("there is a limit");
        assert_eq!((limits.limit_hits, limits.oom, limits.usage_bytes), (13, 26, 200));
    }
}
