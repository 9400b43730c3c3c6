//! Writeback: what the flusher wrote, how much was dirty meanwhile, and the settings that decide both.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use anyhow::Result;
use pgstrobe_common::writeback::{WritebackKey, WritebackSum};

use crate::{
    instrument::Instrument,
    kernel::{
        btf::Btf,
        device,
        vm::{self, Dirty},
    },
    maps::Map,
    postgres::{places, server::Server},
    report::model::{self, Report, WritebackSlice},
};

/// How often the kernel's counters are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Length of a slice of the timeline, at first.
const SLICE: Duration = Duration::from_secs(1);
/// Slices kept; with more, two become one.
const MOST_SLICES: usize = 120;
/// Size of a block of the server, in which `*_flush_after` count (`BLCKSZ`, all but self-made builds have 8 kB).
const BLOCK: u64 = 8192;

pub struct Writeback {
    written: Map<WritebackKey, WritebackSum>,
    reasons: Vec<String>,
    /// What earlier reports hold.
    reported: HashMap<WritebackKey, WritebackSum>,
    /// Up to the last look.
    flushed: Vec<u64>,
    last: Dirty,
    last_look: Instant,
    began: Instant,
    began_written_bytes: u64,
    slices: Vec<Slice>,
    slice: Duration,
}

/// A stretch of time; all but its times and `written_bytes` in pages.
#[derive(Clone, Default)]
struct Slice {
    from: Duration,
    to: Duration,
    written_bytes: u64,
    /// By reason.
    flushed: Vec<u64>,
    dirty: u64,
    writeback: u64,
}

impl Slice {
    fn add(&mut self, other: &Self) {
        self.to = other.to;
        self.written_bytes += other.written_bytes;
        self.flushed.resize(self.flushed.len().max(other.flushed.len()), 0);
        self.flushed.iter_mut().zip(&other.flushed).for_each(|(sum, pages)| *sum += pages);
        self.dirty = self.dirty.max(other.dirty);
        self.writeback = self.writeback.max(other.writeback);
    }
}

/// Adds a look to the timeline, at the resolution it has by now.
fn enter(slices: &mut Vec<Slice>, length: &mut Duration, look: Slice) {
    match slices.last_mut() {
        Some(last) if last.to - last.from + LOOK / 2 < *length => last.add(&look),
        _ => slices.push(look),
    }
    if slices.len() > MOST_SLICES {
        *length *= 2;
        let pairs = slices.chunks(2).map(|pair| {
            let mut one = pair[0].clone();
            pair[1..].iter().for_each(|other| one.add(other));
            one
        });
        *slices = pairs.collect();
    }
}

impl Writeback {
    pub fn open(instrument: &mut Instrument, btf: &Btf) -> Result<Self> {
        let written = instrument.table("WRITTEN")?;
        let last = Dirty::now();
        let mut this = Self {
            written,
            reasons: vm::reasons(btf),
            reported: HashMap::new(),
            flushed: Vec::new(),
            last,
            last_look: Instant::now(),
            began: Instant::now(),
            began_written_bytes: last.written_bytes,
            slices: Vec::new(),
            slice: SLICE,
        };
        // What was written while the other probes were attached is none of the profile.
        this.reported = this.sums();
        this.flushed = this.by_reason(&this.reported);
        Ok(this)
    }

    fn sums(&self) -> HashMap<WritebackKey, WritebackSum> {
        self.written.entries().collect()
    }

    fn by_reason(&self, sums: &HashMap<WritebackKey, WritebackSum>) -> Vec<u64> {
        let mut flushed = vec![0; self.reasons.len() + 1];
        for (key, sum) in sums {
            // The last is for reasons without a name.
            flushed[(key.reason as usize).min(self.reasons.len())] += sum.pages;
        }
        flushed
    }

    fn reason(&self, number: usize) -> String {
        self.reasons.get(number).cloned().unwrap_or_else(|| "unknown".into())
    }

    pub fn tick(&mut self) {
        if self.last_look.elapsed() >= LOOK {
            self.look(&self.sums());
        }
    }

    fn look(&mut self, sums: &HashMap<WritebackKey, WritebackSum>) {
        let now = Dirty::now();
        let flushed = self.by_reason(sums);
        let gained = flushed.iter().zip(&self.flushed).map(|(now, before)| now.saturating_sub(*before)).collect();
        let look = Slice {
            from: self.last_look.saturating_duration_since(self.began),
            to: self.began.elapsed(),
            written_bytes: now.written_bytes.saturating_sub(self.last.written_bytes),
            flushed: gained,
            dirty: now.dirty,
            writeback: now.writeback,
        };
        (self.last, self.last_look, self.flushed) = (now, Instant::now(), flushed);
        enter(&mut self.slices, &mut self.slice, look);
    }

    /// What there was since the last cut, of the whole host; the next interval begins.
    pub fn cut(&mut self) -> Cut {
        let sums = self.sums();
        self.look(&sums);
        let gained = sums.iter().filter_map(|(key, sum)| {
            let before = self.reported.get(key).copied().unwrap_or_default();
            let pages = sum.pages.saturating_sub(before.pages);
            (pages != 0).then(|| Written {
                device: device::text(&key.device),
                // The root has the inode 1, and says nothing.
                cgroup: if key.cgroup > 1 { device::cgroup_path(key.cgroup) } else { None },
                reason: self.reason(key.reason as usize),
                pages,
                busy_ns: sum.busy_ns.saturating_sub(before.busy_ns),
            })
        });
        let cut = Cut {
            by: gained.collect(),
            written_bytes: self.last.written_bytes.saturating_sub(self.began_written_bytes),
            timeline: self.slices.iter().map(|slice| self.slice_model(slice)).collect(),
            settings: self.settings(),
        };
        self.reported = sums;
        self.began = Instant::now();
        self.last_look = self.began;
        self.began_written_bytes = self.last.written_bytes;
        self.slices.clear();
        self.slice = SLICE;
        cut
    }

    fn slice_model(&self, slice: &Slice) -> WritebackSlice {
        let page = vm::page_bytes();
        let flushed = slice.flushed.iter().enumerate().filter(|(_, pages)| **pages > 0);
        WritebackSlice {
            began_ns: slice.from.as_nanos() as u64,
            duration_ns: (slice.to - slice.from).as_nanos() as u64,
            written_bytes: slice.written_bytes,
            flushed_bytes: flushed
                .map(|(reason, pages)| (self.reason(reason), pages * page))
                .collect::<BTreeMap<_, _>>(),
            dirty_bytes: slice.dirty * page,
            writeback_bytes: slice.writeback * page,
            ..WritebackSlice::default()
        }
    }

    /// Those of the kernel.
    fn settings(&self) -> model::WritebackSettings {
        /// A hundredth of a second, in nanoseconds.
        const CENTISECOND: u64 = 10_000_000;
        let page = vm::page_bytes();
        let vm = vm::Settings::read();
        model::WritebackSettings {
            dirty_background_bytes: vm.background_bytes,
            dirty_background_ratio: vm.background_ratio,
            dirty_bytes: vm.bytes,
            dirty_ratio: vm.ratio,
            dirty_expire_ns: vm.expire_centisecs * CENTISECOND,
            dirty_writeback_ns: vm.writeback_centisecs * CENTISECOND,
            background_limit_bytes: self.last.background_threshold * page,
            limit_bytes: self.last.threshold * page,
            ..model::WritebackSettings::default()
        }
    }
}

/// Writeback of the whole host in a stretch of time.
pub struct Cut {
    by: Vec<Written>,
    written_bytes: u64,
    timeline: Vec<WritebackSlice>,
    settings: model::WritebackSettings,
}

/// What the kernel wrote to a device for one reason.
struct Written {
    device: String,
    cgroup: Option<String>,
    reason: String,
    pages: u64,
    busy_ns: u64,
}

impl Cut {
    /// Adds to what the records gave to the report of one server.
    pub fn fill(&self, report: &mut Report, server: &Server, disks: &mut Disks) {
        let page = vm::page_bytes();
        disks.look(server);
        let writeback = &mut report.storage.writeback;
        writeback.written_bytes = self.written_bytes;
        for written in &self.by {
            let holds = disks.0.iter().filter(|(_, disk)| *disk == written.device);
            writeback.by.push(model::WritebackBy {
                device_name: device::name_of(&written.device),
                device: written.device.clone(),
                holds: holds.map(|(what, _)| (*what).to_owned()).collect(),
                cgroup: written.cgroup.clone(),
                reason: written.reason.clone(),
                pages: written.pages,
                bytes: written.pages * page,
                busy_ns: written.busy_ns,
            });
        }
        writeback.by.sort_by(|a, b| (b.pages, &a.device, &a.reason).cmp(&(a.pages, &b.device, &b.reason)));
        writeback.timeline.clone_from(&self.timeline);
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
    }
}

/// The disks of a server, as far as its file systems have answered since it is watched.
pub struct Disks(BTreeSet<(&'static str, String)>);

impl Disks {
    pub fn of(server: &Server) -> Self {
        Self(disks_of(server))
    }

    /// The server may have gone meanwhile, or its disk be silent: what was known stays.
    fn look(&mut self, server: &Server) {
        self.0.append(&mut disks_of(server));
    }
}

/// What of a server lies on which disk: (`data`, `wal` or `tablespace`, its disk). A file system that does not answer in time
/// is left out, which the report notes.
fn disks_of(server: &Server) -> BTreeSet<(&'static str, String)> {
    let disk = |place: places::Place| {
        let found = server.patience.within(place.domain, move || device::disk_of(&place.path));
        Some((place.what, found.flatten()?))
    };
    places::of(server).into_iter().filter_map(disk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_profile_keeps_a_bounded_timeline() {
        let (mut slices, mut length) = (Vec::new(), SLICE);
        for i in 0..10_000 {
            let look =
                Slice { from: LOOK * i, to: LOOK * (i + 1), written_bytes: 2, flushed: vec![1, 0], ..Slice::default() };
            enter(&mut slices, &mut length, look);
        }
        assert!(slices.len() <= MOST_SLICES && slices.len() > MOST_SLICES / 3, "{}", slices.len());
        assert_eq!(slices.iter().map(|slice| slice.written_bytes).sum::<u64>(), 20_000);
        assert_eq!(slices.iter().map(|slice| slice.flushed[0]).sum::<u64>(), 10_000);
        assert_eq!(slices.last().map(|slice| slice.to), Some(LOOK * 10_000));
        assert!(slices.windows(2).all(|pair| pair[0].to == pair[1].from));
    }
}
