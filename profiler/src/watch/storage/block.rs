//! The block layer: requests by device, cgroup and role, and who delays whom.

mod build;
mod cut;
mod devices;
mod owner;
mod rows;
mod sum;
mod trace;

use std::{collections::HashMap, time::Duration};

use anyhow::Result;
use pgstrobe_common::{block::CGROUP_OF_BIO, cluster::NO_CLUSTER, trace::Traced};

use crate::{
    instrument::Instrument,
    kernel::cgroup_names::{Group, Hierarchy, Names},
    maps::Map,
    pace::Every,
    vocabulary::Role,
};
pub use cut::Cut;
use devices::Devices;
use owner::Owners;

/// How often cgroups and devices are looked at.
const LOOK: Duration = Duration::from_secs(1);

pub struct Block {
    rows: rows::Rows,
    /// Numbers of servers by their cgroup.
    cgroups: Map<u64, u32>,
    /// What is in it.
    entered: HashMap<u64, u16>,
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
            rows: rows::Rows::open(instrument)?,
            cgroups: instrument.table("BLOCK_CGROUPS")?,
            entered: HashMap::new(),
            names: Names::open(),
            devices: Devices::open(),
            groups: HashMap::new(),
            look_due: Every::new(LOOK),
            traced: Vec::new(),
            sought: false,
        };
        this.rows.make_room(this.devices.numbers(), NO_CLUSTER)?;
        Ok(this)
    }

    /// Regularly; `postmasters` by the number of their server, `roles` of all their processes with that number, those that
    /// ended lately included.
    pub fn tick(&mut self, postmasters: &[(u16, u32)], roles: impl FnOnce() -> HashMap<u32, (u16, Role)>) {
        if self.look_due.is_due() {
            self.look(postmasters);
            self.rows.free(&is_alive, roles);
            self.sought = false;
        }
    }

    /// Learns what may be gone by the time of the report.
    fn look(&mut self, postmasters: &[(u16, u32)]) {
        let mut cgroups: HashMap<u64, Option<u16>> = HashMap::new();
        for (number, postmaster) in postmasters {
            let (group, own) = self.names.of_process(*postmaster);
            if self.groups.insert(*number, group).is_none() {
                // Where there is none for this server, what finds no room goes to the rows of nobody.
                let _ = self.rows.make_room(self.devices.numbers(), *number);
            }
            if let Some(own) = own {
                // One that two servers share tells of neither.
                cgroups.entry(own).and_modify(|number| *number = None).or_insert(Some(*number));
            }
        }
        self.enter(cgroups.into_iter().filter_map(|(cgroup, number)| Some((cgroup, number?))).collect());
        let keys = self.rows.keys();
        self.devices.learn(keys.iter().map(|key| key.device));
        if keys.iter().any(|key| key.cgroup != 0 && !self.names.knows(hierarchy(key.cgroup), id(key.cgroup))) {
            self.names.refresh();
        }
    }

    /// What was added up since the last cut, of the whole host.
    pub fn cut(&mut self, postmasters: &[(u16, u32)]) -> Cut {
        self.look(postmasters);
        let mut cut = self.rows.cut();
        cut.busy_ns = self.devices.cut();
        cut
    }

    /// Tells the kernel side the cgroups of servers.
    fn enter(&mut self, cgroups: HashMap<u64, u16>) {
        for cgroup in self.entered.keys().filter(|cgroup| !cgroups.contains_key(cgroup)) {
            self.cgroups.remove(cgroup);
        }
        for (cgroup, number) in cgroups.iter().filter(|(cgroup, number)| self.entered.get(cgroup) != Some(number)) {
            let _ = self.cgroups.set(cgroup, &u32::from(*number));
        }
        self.entered = cgroups;
    }

    /// Cgroup of a server, as people know it.
    fn own(&self, number: u16) -> &str {
        self.groups.get(&number).map_or("", |group| &group.name)
    }
}

fn is_alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
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
