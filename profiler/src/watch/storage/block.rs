//! The block layer: requests by device, cgroup and role, and who delays whom.

mod build;
mod devices;
mod owner;
mod sum;
mod trace;

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result};
use pgstrobe_common::{
    block::{BlockKey, BlockRow, CGROUP_OF_BIO, OPS, OWNER_CLUSTER, OWNER_FOLDED},
    trace::Traced,
};

use crate::{
    instrument::Instrument,
    kernel::cgroup_names::{Group, Hierarchy, Names},
    maps::Map,
    pace::Every,
    report::model::Report,
    vocabulary::Role,
};
use devices::Devices;
use owner::Owners;
pub use sum::Sum;

/// How often cgroups and devices are looked at.
const LOOK: Duration = Duration::from_secs(1);

pub struct Block {
    rows: Map<BlockKey, BlockRow>,
    cluster: Map<u32, u64>,
    /// Up to the last report.
    before: HashMap<BlockKey, Box<BlockRow>>,
    names: Names,
    devices: Devices,
    /// Cgroups of the servers, by their number.
    groups: HashMap<u16, Group>,
    look_due: Every,
    /// Requests that were sent by themselves, since they were last taken.
    traced: Vec<Traced>,
    /// Cgroups were looked for since the last [`LOOK`].
    sought: bool,
}

impl Block {
    pub fn open(instrument: &mut Instrument) -> Result<Self> {
        let mut this = Self {
            rows: instrument.table("BLOCKS")?,
            cluster: instrument.array("BLOCK_CGROUP")?,
            before: HashMap::new(),
            names: Names::open(),
            devices: Devices::open(),
            groups: HashMap::new(),
            look_due: Every::new(LOOK),
            traced: Vec::new(),
            sought: false,
        };
        // Rows for what finds no room: they must be there before there is none.
        for device in this.devices.numbers() {
            for (op, cluster) in (0..OPS).flat_map(|op| [(op, 0), (op, OWNER_CLUSTER)]) {
                let key = BlockKey { cgroup: 0, device, pid: 0, op, owner: OWNER_FOLDED | cluster };
                this.rows.set(&key, &BlockRow::EMPTY).context("the map of block requests")?;
            }
        }
        Ok(this)
    }

    /// Regularly; `postmasters` by the number of their server.
    pub fn tick(&mut self, postmasters: &[(u16, u32)]) {
        if self.look_due.is_due() {
            self.look(postmasters);
            self.sought = false;
        }
    }

    /// Learns what may be gone by the time of the report.
    fn look(&mut self, postmasters: &[(u16, u32)]) {
        for (number, postmaster) in postmasters {
            let (group, own) = self.names.of_process(*postmaster);
            self.groups.insert(*number, group);
            let _ = self.cluster.set(&u32::from(*number), &own.unwrap_or(0));
        }
        let keys: Vec<BlockKey> = self.rows.keys();
        self.devices.learn(keys.iter().map(|key| key.device));
        if keys.iter().any(|key| key.cgroup != 0 && !self.names.knows(hierarchy(key.cgroup), id(key.cgroup))) {
            self.names.refresh();
        }
    }

    /// What was added up since the last cut, of the whole host.
    pub fn cut(&mut self, postmasters: &[(u16, u32)]) -> Vec<(BlockKey, Sum)> {
        self.look(postmasters);
        let mut sums = Vec::new();
        for (key, row) in self.rows.entries() {
            let before = self.before.get(&key);
            let sum = Sum::of(&row, before.map(|row| &**row));
            if sum.is_empty() {
                continue;
            }
            sums.push((key, sum));
            self.before.insert(key, Box::new(row));
        }
        sums
    }

    /// Fills the report of one server with what was cut, as seen from there. `servers` has the numbers of the servers whose
    /// backends have these pids.
    pub fn fill(&self, cut: &[(BlockKey, Sum)], report: &mut Report, number: u16, servers: &HashMap<u32, u16>) {
        let roles: HashMap<u32, Role> =
            report.backends.iter().map(|backend| (backend.pid, backend.role.known().unwrap_or_default())).collect();
        let group = group(&self.names);
        let elsewhere = |pid| servers.get(&pid).is_some_and(|of| *of != number);
        let owners = Owners { roles: &roles, group: &group, own: self.own(number), elsewhere: &elsewhere };
        let sums = cut.iter().map(|(key, sum)| (BlockKey { owner: owners.kind(key), ..*key }, sum.clone())).collect();
        let view = build::View { devices: &self.devices, owners };
        report.storage.block = view.block(sums, report.duration_ns);
    }

    /// The next interval begins.
    pub fn begin(&mut self) {
        self.devices.begin();
    }

    /// Cgroup of a server, as people know it.
    fn own(&self, number: u16) -> &str {
        self.groups.get(&number).map_or("", |group| &group.name)
    }
}

/// Names of cgroups by their number in keys.
fn group(names: &Names) -> impl Fn(u64) -> Option<String> {
    |number| names.get(hierarchy(number), id(number)).map(|group| group.name.clone())
}

fn hierarchy(cgroup: u64) -> Hierarchy {
    if cgroup & CGROUP_OF_BIO != 0 { Hierarchy::Block } else { Hierarchy::Unified }
}

fn id(cgroup: u64) -> u64 {
    cgroup & !CGROUP_OF_BIO
}
