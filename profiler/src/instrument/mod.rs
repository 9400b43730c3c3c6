//! The programs in the kernel: loaded, attached, drained, counted, detached. This is the only code that knows aya; all
//! else sees plain types, and maps as tables ([`crate::maps`]).

pub mod attach;
mod backends;
mod clusters;
mod cost;
mod costs;
mod counters;
mod coverage;
mod maps;
mod timers;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, MapData, RingBuf, StackTraceMap},
};
use pgstrobe_common::state::Settings;

pub use attach::{Attached, OBJECT, Site, Sites};
pub use backends::Backends;
pub use clusters::Clusters;
pub use cost::own_rss_bytes;
pub use coverage::Cut;

use crate::{
    maps::{Map, ReadStack},
    probes::Probe,
};
use attach::Links;
use costs::Costs;
use timers::Timers;

/// The smallest record with its head in the ring buffer, in bytes: a bound on how many the ring can hold.
const SMALLEST_RECORD: u32 = 24;

/// The kernel's own types, by which programs are loaded.
pub type KernelTypes = aya::Btf;

/// All that runs in the kernel for a profile. Nothing is pinned: dropping it, or the death of the process, detaches
/// everything.
pub struct Instrument {
    ebpf: Ebpf,
    links: Links,
    timers: Timers,
    ring: RingBuf<MapData>,
    /// Records that a full ring may hold.
    ring_records: usize,
    attached: Vec<Attached>,
    costs: Costs,
    before: coverage::Before,
    exact: bool,
    empty: bool,
}

/// How an instrument is made, beside what its programs are to know.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub ring_bytes: u32,
    /// Every run of every program is timed.
    pub exact: bool,
}

impl Drop for Instrument {
    fn drop(&mut self) {
        attach::detach(&mut self.ebpf);
    }
}

impl Instrument {
    /// Makes the maps; nothing is attached yet.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn load(settings: &Settings, types: &KernelTypes, options: Options) -> Result<Self> {
        let mut ebpf = attach::load(settings, types, options.ring_bytes)?;
        let ring = RingBuf::try_from(ebpf.take_map("RING").context("no map RING")?)?;
        let mut this = Self {
            timers: Timers::new(&ebpf),
            ebpf,
            links: Links::default(),
            ring,
            ring_records: (options.ring_bytes / SMALLEST_RECORD) as usize,
            attached: Vec::new(),
            costs: Costs::new(options.exact),
            before: coverage::Before::default(),
            exact: options.exact,
            empty: settings.empty != 0,
        };
        this.before = coverage::Before::now(&this);
        Ok(this)
    }

    /// A map by key that nobody has taken yet.
    ///
    /// # Errors
    /// There is none: kernel side and userspace differ.
    pub fn table<K: Pod, V: Pod>(&mut self, name: &str) -> Result<Map<K, V>> {
        Ok(Box::new(maps::Hash(HashMap::<MapData, K, V>::try_from(self.map(name)?)?)))
    }

    /// A map by index that nobody has taken yet.
    ///
    /// # Errors
    /// As [`Instrument::table`].
    pub fn array<V: Pod>(&mut self, name: &str) -> Result<Map<u32, V>> {
        Ok(Box::new(maps::Slots(Array::<MapData, V>::try_from(self.map(name)?)?)))
    }

    fn map(&mut self, name: &str) -> Result<aya::maps::Map> {
        self.ebpf.take_map(name).with_context(|| format!("no map {name}"))
    }

    /// The backends as the kernel side keeps them.
    ///
    /// # Errors
    /// As [`Instrument::table`].
    pub fn backends(&mut self) -> Result<Backends> {
        Ok(Backends {
            slots: self.array("BACKENDS")?,
            crowded: self.table("CROWDED")?,
            any_crowded: self.array("ANY_CROWDED")?,
        })
    }

    /// The servers as the kernel side knows them.
    ///
    /// # Errors
    /// As [`Instrument::table`].
    pub fn clusters(&mut self) -> Result<Clusters> {
        Ok(Clusters {
            entries: self.array("CLUSTERS")?,
            postmasters: self.table("POSTMASTERS")?,
            classes: self.table("CLASSES")?,
            wanted: self.array("WANTED")?,
        })
    }

    /// How a kernel stack is read by its number: the addresses, innermost first. None where the kernel keeps none.
    pub fn stacks(&mut self) -> Option<ReadStack> {
        let map = self.ebpf.take_map("STACKS").and_then(|map| StackTraceMap::try_from(map).ok())?;
        Some(Box::new(move |number| {
            let stack = map.get(&number, 0).ok()?;
            Some(stack.frames().iter().map(|frame| frame.ip).collect())
        }))
    }

    /// Attaches every probe that is not refused. `refusal` says why one is not wanted, `is_essential` whether there is no
    /// profile without it.
    ///
    /// # Errors
    /// An essential probe cannot be attached: a sentence for people.
    pub fn attach(
        &mut self,
        probes: &[&'static Probe],
        sites: &Sites<'_>,
        refusal: &dyn Fn(&Probe) -> Option<String>,
        is_essential: &dyn Fn(&Probe) -> bool,
    ) -> Result<(), String> {
        let wanted: Vec<&Probe> = probes.iter().copied().filter(|probe| refusal(probe).is_none()).collect();
        attach::preload(&mut self.ebpf, &wanted, sites);
        for probe in probes {
            if let Some(reason) = refusal(probe) {
                self.attached.push(Attached { probe, way: None, reason: Some(reason) });
                continue;
            }
            let result = attach::attach(&mut self.ebpf, probe, sites, &mut self.links);
            if result.way.is_none() && is_essential(probe) {
                let reason = result.reason.unwrap_or_default();
                return Err(format!("cannot attach the probe `{}`: {reason}", probe.name));
            }
            self.attached.push(result);
        }
        self.costs.begin(&self.ebpf, &self.attached);
        self.before = coverage::Before::now(self);
        Ok(())
    }

    /// What became of the probes.
    pub fn attached(&self) -> &[Attached] {
        &self.attached
    }

    /// Takes records out of the ring buffer, and gives each to `each`. However fast they come, it ends with what was there
    /// when it began.
    pub fn drain(&mut self, each: &mut dyn FnMut(&[u8])) {
        for _ in 0..self.ring_records {
            let Some(record) = self.ring.next() else { return };
            each(&record);
        }
    }

    /// What is to be done regularly: sample the cost, look after the timers.
    pub fn tick(&mut self) {
        self.costs.tick(&self.ebpf, &self.attached);
        // Empty programs count no ticks.
        if !self.empty {
            self.timers.follow(&mut self.ebpf, &self.attached, &mut self.links);
        }
    }
}
