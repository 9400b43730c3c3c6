//! The host in the report: what it is, and who used its CPUs.

use super::Session;
use crate::report::model;

impl Session {
    /// Closes the account of the host's CPUs and opens the next one.
    pub(super) fn host_model(&mut self) -> model::Host {
        let used = self.host_cpu.look(self.server.cluster.postmaster_pid);
        let others = used.others.into_iter().map(|other| model::OtherProcess {
            pid: other.pid,
            name: other.name,
            cgroup: other.cgroup,
            cpu_ns: other.cpu_ns,
        });
        model::Host {
            kernel: self.host.release.clone(),
            cpus: self.host.cpus,
            virtualized: self.host.virtualized,
            btf: self.host.btf,
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
