//! Writeback of the whole host in a stretch of time, and what a report says of it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use pgstrobe_common::writeback::WritebackSum;
use serde::{Deserialize, Serialize};

use super::Disks;
use crate::{
    kernel::device,
    postgres::server::Server,
    report::model::{self, Report, WritebackSlice},
    time::{Merge, Span, Timeline, pairs},
};

/// Length of a step of the timeline at first, in nanoseconds.
const STEP_NS: u64 = 1_000_000_000;
/// Steps kept; with more, two become one.
const MOST_STEPS: u64 = 120;
/// Rows kept apart: as many as the kernel side has. The others are kept by device and reason.
const MAX_ROWS: usize = 1_024;
/// Size of a block of the server, in which `*_flush_after` count (`BLCKSZ`, all but self-made builds have 8 kB).
const BLOCK: u64 = 8192;

/// What the flusher and others wrote, and how much was dirty meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    pub(super) span: Span,
    #[serde(with = "pairs")]
    by: HashMap<Source, Written>,
    /// By whatever way.
    written_bytes: u64,
    timeline: Timeline<Step, STEP_NS, MOST_STEPS>,
    /// Those of the kernel, at the end.
    pub(super) settings: model::WritebackSettings,
    /// Rows that found no room.
    folded: u64,
}

/// What the flusher wrote to which device, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Source {
    /// `major:minor`, or a name where the file system has no disk of its own.
    pub device: String,
    pub reason: String,
    /// Inode of the cgroup (version 2) that changed the pages, 0 for none.
    pub cgroup: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Written {
    /// Path of the cgroup; none for the root, or where it is gone.
    pub cgroup: Option<String>,
    pub pages: u64,
    pub bytes: u64,
    pub busy_ns: u64,
}

/// What was seen in one look, or in several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    pub span: Span,
    pub written_bytes: u64,
    /// By the flusher, by reason.
    pub flushed_bytes: BTreeMap<String, u64>,
    /// The most at a time.
    pub dirty_bytes: u64,
    pub writeback_bytes: u64,
}

impl Cut {
    /// `origin_ns`: where steps are counted from, the same for all cuts.
    pub(super) fn begin(origin_ns: u64, now_ns: u64) -> Self {
        let span = Span { from_ns: now_ns, to_ns: now_ns };
        Self { span, timeline: Timeline::on(origin_ns), ..Self::default() }
    }

    pub(super) fn look(&mut self, step: Step) {
        self.span.to_ns = step.span.to_ns;
        self.written_bytes += step.written_bytes;
        self.timeline.add(step.span.from_ns, step);
    }

    /// Adds a row; where there are too many, to the one of its device and reason without a cgroup.
    pub(super) fn add(&mut self, mut source: Source, mut written: Written) {
        if self.by.len() >= MAX_ROWS && !self.by.contains_key(&source) {
            self.folded += u64::from(source.cgroup != 0);
            (source.cgroup, written.cgroup) = (0, None);
        }
        match self.by.get_mut(&source) {
            Some(row) => row.merge(written),
            None => drop(self.by.insert(source, written)),
        }
    }

    /// Adds to what the records gave to the report of one server.
    pub fn fill(&self, report: &mut Report, server: &Server, disks: &mut Disks) {
        disks.look(server);
        let writeback = &mut report.storage.writeback;
        writeback.written_bytes = self.written_bytes;
        writeback.by = self.rows(disks);
        writeback.timeline = self.slices();
        let seconds = &writeback.pauses.seconds;
        for (second, (count, ns)) in seconds {
            let at = writeback.timeline.partition_point(|slice| slice.began_ns < second * 1_000_000_000 + 500_000_000);
            if let Some(slice) = writeback.timeline.get_mut(at.saturating_sub(1)) {
                slice.pauses += count;
                slice.paused_ns += ns;
            }
        }
        for pause in &mut writeback.pauses.longest {
            pause.device_name = device::name_of(&pause.device);
        }
        let flush_after = |name| server.variable(name).map(|blocks| u64::from(blocks) * BLOCK);
        writeback.settings = model::WritebackSettings {
            backend_flush_after_bytes: flush_after("backend_flush_after"),
            bgwriter_flush_after_bytes: flush_after("bgwriter_flush_after"),
            checkpoint_flush_after_bytes: flush_after("checkpoint_flush_after"),
            ..self.settings.clone()
        };
        if self.folded != 0 {
            *report.coverage.lost.entry("writeback_folded".into()).or_default() += self.folded;
        }
    }

    fn rows(&self, disks: &Disks) -> Vec<model::WritebackBy> {
        let mut rows: Vec<_> = self.by.iter().filter(|(_, written)| written.pages != 0).collect();
        rows.sort_by(|(a, one), (b, other)| (Reverse(one.pages), a).cmp(&(Reverse(other.pages), b)));
        let rows = rows.into_iter().map(|(source, written)| model::WritebackBy {
            device_name: device::name_of(&source.device),
            device: source.device.clone(),
            holds: disks.held_by(&source.device),
            cgroup: written.cgroup.clone(),
            reason: source.reason.clone(),
            pages: written.pages,
            bytes: written.bytes,
            busy_ns: written.busy_ns,
        });
        rows.collect()
    }

    fn slices(&self) -> Vec<WritebackSlice> {
        let steps = self.timeline.steps().filter_map(|(_, step)| step);
        let slices = steps.map(|step| WritebackSlice {
            began_ns: self.span.since_begin_ns(step.span.from_ns),
            duration_ns: step.span.to_ns - step.span.from_ns,
            written_bytes: step.written_bytes,
            flushed_bytes: step.flushed_bytes.clone(),
            dirty_bytes: step.dirty_bytes,
            writeback_bytes: step.writeback_bytes,
            ..WritebackSlice::default()
        });
        slices.collect()
    }
}

impl Merge for Cut {
    fn merge(&mut self, later: Self) {
        self.span.merge(later.span);
        let mut rows: Vec<_> = later.by.into_iter().collect();
        // Those that find room are the largest.
        rows.sort_by(|(a, one), (b, other)| (Reverse(one.pages), a).cmp(&(Reverse(other.pages), b)));
        rows.into_iter().for_each(|(source, written)| self.add(source, written));
        self.written_bytes += later.written_bytes;
        self.timeline.merge(later.timeline);
        if later.span != Span::default() {
            self.settings = later.settings;
        }
        self.folded += later.folded;
    }
}

impl Merge for Written {
    fn merge(&mut self, later: Self) {
        // A cgroup that is gone keeps its name.
        self.cgroup = later.cgroup.or(self.cgroup.take());
        self.pages += later.pages;
        self.bytes += later.bytes;
        self.busy_ns += later.busy_ns;
    }
}

impl Merge for Step {
    fn merge(&mut self, later: Self) {
        self.span.merge(later.span);
        self.written_bytes += later.written_bytes;
        Merge::merge(&mut self.flushed_bytes, later.flushed_bytes);
        self.dirty_bytes = self.dirty_bytes.max(later.dirty_bytes);
        self.writeback_bytes = self.writeback_bytes.max(later.writeback_bytes);
    }
}

impl Merge for WritebackSum {
    fn merge(&mut self, later: Self) {
        self.pages += later.pages;
        self.steps += later.steps;
        self.busy_ns += later.busy_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: u64 = 77_000_000_000;
    /// Between two looks.
    const LOOK: u64 = 530_000_000;

    /// Looks from one to the next by number.
    fn looked(looks: std::ops::Range<u64>) -> Cut {
        let mut cut = Cut::begin(ORIGIN, ORIGIN + looks.start * LOOK);
        for n in looks {
            let flushed_bytes = BTreeMap::from([("background".into(), 1), ("sync".into(), n % 3)]);
            let span = Span { from_ns: ORIGIN + n * LOOK, to_ns: ORIGIN + (n + 1) * LOOK };
            cut.look(Step { span, written_bytes: 2, flushed_bytes, dirty_bytes: n * 7 % 40, writeback_bytes: n % 5 });
            let source = Source { device: "8:0".into(), reason: "sync".into(), cgroup: n % 4 };
            let path = (n % 2 == 0).then(|| "/a".to_owned());
            cut.add(source, Written { cgroup: path, pages: n, bytes: n * 4096, busy_ns: n });
        }
        cut.settings.dirty_ratio = cut.span.to_ns;
        cut
    }

    #[test]
    fn a_long_profile_keeps_a_bounded_timeline() {
        let cut = looked(0..10_000);
        let slices = cut.slices();
        assert!(slices.len() as u64 <= MOST_STEPS && slices.len() as u64 > MOST_STEPS / 3, "{}", slices.len());
        assert_eq!(slices.iter().map(|slice| slice.written_bytes).sum::<u64>(), 20_000);
        assert_eq!(slices.iter().map(|slice| slice.flushed_bytes["background"]).sum::<u64>(), 10_000);
        assert_eq!(slices.last().map(|slice| slice.began_ns + slice.duration_ns), Some(LOOK * 10_000));
        assert!(slices.windows(2).all(|pair| pair[0].began_ns + pair[0].duration_ns == pair[1].began_ns));
    }

    #[test]
    fn two_parts_are_the_whole() {
        for (cut, end) in [(1, 2), (3, 40), (0, 9), (9, 9), (77, 2_000), (1_999, 2_000)] {
            let mut merged = Cut::default();
            [looked(0..cut), looked(cut..end)].into_iter().for_each(|part| merged.merge(part));
            assert_eq!(merged, looked(0..end), "{cut} of {end}");
            assert_eq!(merged.slices(), looked(0..end).slices());
            let kept = serde_json::to_string(&merged).expect("plain data");
            assert_eq!(serde_json::from_str::<Cut>(&kept).expect("what was written"), merged);
        }
    }

    #[test]
    fn cgroups_that_find_no_room_are_summed_and_counted() {
        let of = |cgroups: std::ops::Range<u64>| {
            let mut cut = Cut::default();
            for cgroup in cgroups {
                let source = Source { device: "8:0".into(), reason: "sync".into(), cgroup };
                cut.add(source, Written { pages: 1, ..Written::default() });
            }
            cut
        };
        let mut merged = of(1..MAX_ROWS as u64);
        merged.merge(of(1_000_000..1_000_010));
        assert_eq!((merged.by.len(), merged.folded), (MAX_ROWS + 1, 9));
        assert_eq!(merged.by.values().map(|row| row.pages).sum::<u64>(), MAX_ROWS as u64 + 9);
    }
}
