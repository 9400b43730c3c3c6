//! The processes of a server, as the server itself counts and calls them.

use std::collections::{BTreeMap, BTreeSet};

use xtask::cluster::Cluster;

use crate::psql;

/// The pid in the process's own namespace.
pub fn own_pid(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

/// What a process has had of the CPUs, in nanoseconds.
pub fn cpu_ns(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/schedstat");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_else(|| panic!("{path}: {text}"))
}

/// How often a process has left its CPU, to sleep or for another one, by the kernel's count.
pub fn switches(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|error| panic!("{pid}: {error}"));
    let counts = text.lines().filter_map(|line| line.split_once("_ctxt_switches:")?.1.trim().parse::<u64>().ok());
    counts.sum()
}

/// How often a process went to sleep, by the kernel's count.
pub fn sleeps(pid: u32) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|error| panic!("{pid}: {error}"));
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("{pid}: {status}"))
}

/// The number of the system call in which a process sleeps, `-1` where it sleeps outside of any; none unless it has left its
/// CPU, for which the kernel waits before it says so.
pub fn sleeps_in(pid: u32) -> Option<String> {
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let number = call.split_whitespace().next()?;
    (number != "running").then(|| number.to_owned())
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

/// The numbers that no new process can have now: those of threads, process groups and sessions.
pub fn pids_taken() -> BTreeSet<u32> {
    let mut taken = BTreeSet::new();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    for process in processes.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit()) {
        let threads = std::fs::read_dir(process.path().join("task")).into_iter().flatten().flatten();
        taken.extend(threads.filter_map(|thread| thread.file_name().to_str()?.parse::<u32>().ok()));
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // proc(5): after the name in brackets come the state, the parent, the process group and the session.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        taken.extend(fields.skip(2).take(2).filter_map(|field| field.parse::<u32>().ok()));
    }
    taken
}
