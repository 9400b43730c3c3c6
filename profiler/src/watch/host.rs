//! What is the host's, measured once however many servers are watched: CPUs, block devices, writeback.

use std::collections::HashMap;

use anyhow::Result;
use pgstrobe_common::trace::Traced;
use serde::{Deserialize, Serialize};

use super::{
    one::Watch,
    storage::{block, writeback},
};
use crate::{
    instrument::Instrument,
    kernel::{
        btf::Btf,
        features::Host,
        host_cpu::{HostCpu, Stretch},
    },
    report::model::{self, Report},
    time::Merge,
    vocabulary::Role,
};

/// The host, and what is measured of it.
pub(super) struct HostMeasures {
    facts: Host,
    cpu: HostCpu,
    pub block: block::Block,
    writeback: writeback::Writeback,
}

/// What of the devices came in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct DeviceCut {
    block: block::Cut,
    writeback: writeback::Cut,
}

impl Merge for DeviceCut {
    fn merge(&mut self, later: Self) {
        self.block.merge(later.block);
        self.writeback.merge(later.writeback);
    }
}

impl Merge for Stretch {
    fn merge(&mut self, later: Self) {
        self.go_on(later);
    }
}

impl HostMeasures {
    /// Takes its maps; the programs are attached already.
    pub fn open(instrument: &mut Instrument, btf: &Btf) -> Result<Self> {
        Ok(Self {
            facts: Host::look(),
            cpu: HostCpu::open(),
            block: block::Block::open(instrument)?,
            writeback: writeback::Writeback::open(instrument, btf)?,
        })
    }

    /// A block request that was sent by itself.
    pub fn traced(&mut self, record: Traced) {
        self.block.traced(record);
    }

    /// Regularly, with every drain of the ring buffer; `postmasters` by the number of their server, `roles` of all their
    /// processes with that number, those that ended lately included.
    pub fn tick(&mut self, postmasters: &[(u16, u32)], roles: impl FnOnce() -> HashMap<u32, (u16, Role)>) {
        self.block.tick(postmasters, roles);
        self.writeback.tick();
    }

    /// Closes the account of the host's CPUs and opens the next one.
    pub fn cut_cpu(&mut self) -> Stretch {
        self.cpu.cut()
    }

    /// Closes the accounts of devices and opens the next ones.
    pub fn cut_devices(&mut self, postmasters: &[(u16, u32)]) -> DeviceCut {
        DeviceCut { block: self.block.cut(postmasters), writeback: self.writeback.cut() }
    }

    /// Fills the report of one server with what was cut, as seen from there.
    pub fn fill(&self, cut: &DeviceCut, report: &mut Report, watch: &mut Watch) {
        cut.block.fill(report, &self.block, watch.number);
        cut.writeback.fill(report, &watch.server, &mut watch.storage.disks);
    }

    /// The host as one server's report has it; `servers` are all that are watched, by their postmaster, with a name.
    pub fn model(&self, cpu: &Stretch, postmaster: u32, servers: &[(u32, String)]) -> model::Host {
        let neighbours: Vec<_> = servers.iter().filter(|(pid, _)| *pid != postmaster).cloned().collect();
        let used = cpu.usage(postmaster, &neighbours);
        let others = used.others.into_iter().map(|other| model::OtherProcess {
            pid: other.pid,
            name: other.name,
            cgroup: other.cgroup,
            cpu_ns: other.cpu_ns,
        });
        model::Host {
            kernel: self.facts.release.clone(),
            cpus: self.facts.cpus,
            virtualized: self.facts.virtualized,
            btf: self.facts.btf,
            cpu: model::HostCpu {
                total_ns: used.total_ns,
                idle_ns: used.idle_ns,
                steal_ns: used.steal_ns,
                cluster_ns: used.cluster_ns,
                others: others.collect(),
            },
        }
    }
}
