//! Writeback: what the flusher wrote, how much was dirty meanwhile, and the settings that decide both.

mod cut;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use anyhow::Result;
use pgstrobe_common::writeback::{WritebackKey, WritebackSum};

use crate::{
    instrument::Instrument,
    kernel::{
        btf::Btf,
        device,
        features::monotonic_ns,
        vm::{self, Dirty},
    },
    maps::Map,
    postgres::{places, server::Server},
    report::model,
    time::{Gain, Merge as _, Since, Span},
};
pub use cut::Cut;
use cut::{Source, Step, Written};

/// How often the kernel's counters are looked at.
const LOOK: Duration = Duration::from_millis(500);

type Sums = HashMap<WritebackKey, WritebackSum>;

pub struct Writeback {
    map: Map<WritebackKey, WritebackSum>,
    reasons: Vec<String>,
    /// Up to the last look.
    flushed: Since<Sums>,
    written_bytes: Since<u64>,
    last: Dirty,
    last_look_ns: u64,
    /// When this began to look.
    origin_ns: u64,
    /// Since the last cut.
    cut: Cut,
    gained: Sums,
}

impl Writeback {
    pub fn open(instrument: &mut Instrument, btf: &Btf) -> Result<Self> {
        let map = instrument.table("WRITTEN")?;
        let last = Dirty::now();
        let now_ns = monotonic_ns();
        Ok(Self {
            // What was written while the other probes were attached is none of the profile.
            flushed: Since::from(map.entries().collect()),
            map,
            reasons: vm::reasons(btf),
            written_bytes: Since::from(last.written_bytes),
            last,
            last_look_ns: now_ns,
            origin_ns: now_ns,
            cut: Cut::begin(now_ns, now_ns),
            gained: Sums::new(),
        })
    }

    fn reason(&self, number: u32) -> String {
        self.reasons.get(number as usize).cloned().unwrap_or_else(|| "unknown".into())
    }

    pub fn tick(&mut self) {
        let now_ns = monotonic_ns();
        if u128::from(now_ns - self.last_look_ns) >= LOOK.as_nanos() {
            self.look(now_ns);
        }
    }

    fn look(&mut self, now_ns: u64) {
        let page = vm::page_bytes();
        let now = Dirty::now();
        let flushed = self.flushed.take(self.map.entries().collect());
        let mut flushed_bytes = BTreeMap::new();
        for (key, sum) in flushed.iter().filter(|(_, sum)| sum.pages != 0) {
            *flushed_bytes.entry(self.reason(key.reason)).or_default() += sum.pages * page;
        }
        self.gained.merge(flushed);
        self.cut.look(Step {
            span: Span { from_ns: self.last_look_ns, to_ns: now_ns },
            written_bytes: self.written_bytes.take(now.written_bytes),
            flushed_bytes,
            dirty_bytes: now.dirty * page,
            writeback_bytes: now.writeback * page,
        });
        (self.last, self.last_look_ns) = (now, now_ns);
    }

    /// What there was since the last cut, of the whole host; the next interval begins.
    pub fn cut(&mut self) -> Cut {
        let now_ns = monotonic_ns();
        self.look(now_ns);
        let mut cut = std::mem::replace(&mut self.cut, Cut::begin(self.origin_ns, now_ns));
        for (key, sum) in std::mem::take(&mut self.gained) {
            if sum == WritebackSum::default() {
                continue;
            }
            let source =
                Source { device: device::text(&key.device), reason: self.reason(key.reason), cgroup: key.cgroup };
            // The root has the inode 1, and says nothing.
            let cgroup = if key.cgroup > 1 && sum.pages != 0 { device::cgroup_path(key.cgroup) } else { None };
            let bytes = sum.pages * vm::page_bytes();
            cut.add(source, Written { cgroup, pages: sum.pages, bytes, busy_ns: sum.busy_ns });
        }
        cut.settings = self.settings();
        cut
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

impl Gain for WritebackSum {
    fn since(&self, before: &Self) -> Self {
        Self {
            pages: self.pages.since(&before.pages),
            steps: self.steps.since(&before.steps),
            busy_ns: self.busy_ns.since(&before.busy_ns),
        }
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

    /// What of the server lies on a device.
    fn held_by(&self, device: &str) -> Vec<String> {
        self.0.iter().filter(|(_, disk)| disk == device).map(|(what, _)| (*what).to_owned()).collect()
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
