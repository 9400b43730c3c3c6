//! What pgstrobe takes for itself while a hundred connections work.

use std::process::Stdio;

use pgstrobe_tests::*;

const CLIENTS: u64 = 100;

/// A field of /proc/PID/status in bytes.
fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("pgstrobe runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect(field);
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().expect("KiB") << 10
}

#[test]
fn a_hundred_connections() {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    let mut pgbench = cluster.client("pgbench");
    // A rate that leaves the machine some time: what is measured is pgstrobe, not the queue for a CPU.
    pgbench.args(["-n", "-S", "-M", "simple", "-c", &CLIENTS.to_string(), "-R", "2000", "-T", "8"]);
    let mut load = pgbench.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("pgbench");
    wait_until("all clients are connected", || cluster.pids().len() as u64 > CLIENTS);
    // Each report is made in memory: the peak is read when two have been.
    let profile = Profile::start(&cluster, &["--interval", "3"]);
    assert!(load.wait().expect("pgbench").success());
    let peak = status_bytes(profile.pid(), "VmHWM");
    let reports = profile.stop_all();
    println!("peak {} KiB", peak >> 10);
    assert!(reports.len() >= 2, "{} reports", reports.len());
    let report = &reports[0];
    assert!(report.backends.iter().filter(|backend| backend.role == "client backend").count() as u64 >= CLIENTS);
    assert!(report.statements.count > 0);
    assert!(peak < 64 << 20, "{} MiB", peak >> 20);
    reports.iter().for_each(assert_nothing_lost);
}
