//! The processes of a server, as the server itself counts and calls them.

use std::collections::BTreeMap;

use xtask::cluster::Cluster;

use crate::psql;

/// The pid in the process's own namespace.
pub fn own_pid(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

/// Keeps a process on one CPU.
pub fn run_on_cpu(pid: u32, cpu: usize) {
    // SAFETY: a set of CPUs is plain numbers, and ours.
    let done = unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut cpus);
        libc::sched_setaffinity(pid as libc::pid_t, size_of_val(&cpus), &raw const cpus)
    };
    assert_eq!(done, 0, "sched_setaffinity: {}", std::io::Error::last_os_error());
}

/// This machine's pids of a server's processes, by the server's own.
pub fn pids_by_own(cluster: &Cluster) -> BTreeMap<u32, u32> {
    cluster.pids().into_iter().filter_map(|pid| Some((own_pid(pid)?, pid))).collect()
}

/// `backend_type` of the server's processes by this machine's pid, as the server says, but for the one that was asked.
pub fn backend_types(cluster: &Cluster) -> BTreeMap<u32, String> {
    let rows =
        psql(cluster, "SELECT pid, backend_type FROM pg_stat_activity WHERE pid <> pg_backend_pid() ORDER BY pid");
    let pids = pids_by_own(cluster);
    let row = |line: &str| {
        let (own, kind) = line.split_once('|').expect("two columns");
        Some((*pids.get(&own.parse().expect("a pid"))?, kind.to_string()))
    };
    rows.lines().filter_map(row).collect()
}
