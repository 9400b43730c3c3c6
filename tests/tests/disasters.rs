//! The server dies, stands still, or is stormed while it is profiled: the report says what happened.

use std::process::Stdio;
use std::time::{Duration, Instant};

use pgstrobe_tests::*;

fn signal(pid: u32, signal: i32) {
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0, "signal {signal} to {pid}");
}

/// A client's backend says in its title that it is in a SELECT.
fn works(cluster: &Cluster) -> bool {
    let title = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    cluster.pids().iter().any(|pid| title(pid).contains("[local] SELECT"))
}

/// SIGKILL of the postmaster, statements under way: its children notice and leave.
#[test]
fn the_postmaster_is_killed() {
    let mut cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    psql(&cluster, "SELECT 1");
    let mut sleeper = cluster.client("psql");
    sleeper.args(["-X", "-q", "-c", "SELECT pg_sleep(30)"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut sleeper = sleeper.spawn().expect("psql");
    wait_until("the statement is under way", || works(&cluster));
    let pids = cluster.pids();
    signal(pids[0], libc::SIGKILL);
    let gone = |pid: &u32| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists();
    wait_until("the children leave", || pids[1..].iter().all(gone));
    std::thread::sleep(Duration::from_millis(500));
    let report = profile.stop();
    let _ = sleeper.wait();
    assert_eq!(report.statements.terminated, 1, "the statement under way");
    assert_eq!(calls(&report, "SELECT $1"), 1);
    let ended = report.coverage.notes.iter().filter(|note| note.contains("the postmaster (pid")).count();
    assert_eq!(ended, 1, "{:?}", report.coverage.notes);
    assert!(report.backends.iter().all(|backend| !backend.alive || backend.role == "postmaster"), "some are left");
    assert_nothing_lost(&report);
    cluster.stop();
}

#[test]
fn the_postmaster_is_killed_and_started_again() {
    let mut cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    psql(&cluster, "SELECT 1");
    let pids = cluster.pids();
    signal(pids[0], libc::SIGKILL);
    wait_until("all leave", || pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()));
    cluster.restart().expect("recovery");
    std::thread::sleep(Duration::from_secs(3));
    psql(&cluster, "SELECT 2");
    let report = profile.stop();
    assert_eq!(report.clusters[0].restarts, 1, "{:?}", report.coverage.notes);
    assert_eq!(calls(&report, "SELECT $1"), 2);
}

#[test]
fn a_storm_of_connections() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let run = Pgbench::new(&cluster, 20, 40).script("SELECT 1;\n").args(&["-C"]).run();
    let report = profile.stop();
    assert_eq!((run.transactions, report.statements.count), (800, 800));
    let clients: Vec<_> = report.backends.iter().filter(|backend| backend.role == "client backend").collect();
    // pgbench connects once for itself, to see whether it can.
    assert_eq!(clients.len(), 801);
    assert!(clients.iter().all(|backend| backend.startup_ns.is_some()), "start-ups measured");
    assert!(report.findings.iter().any(|finding| finding.id == "connection_churn"), "{:?}", report.findings);
    assert_nothing_lost(&report);
}

/// A server that is stopped and goes on: the pause is in the statement's time, and not on the CPU.
#[test]
fn the_server_stands_still() {
    const PAUSE: Duration = Duration::from_millis(1500);
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let mut client = cluster.client("psql");
    client.args(["-X", "-q", "-c", "SELECT pg_sleep(1)"]).stdout(Stdio::null());
    let mut client = client.spawn().expect("psql");
    wait_until("the statement is under way", || works(&cluster));
    let under_way = Instant::now();
    let pids = cluster.pids();
    pids.iter().for_each(|pid| signal(*pid, libc::SIGSTOP));
    std::thread::sleep(PAUSE);
    let least = under_way.elapsed().as_nanos() as u64;
    pids.iter().for_each(|pid| signal(*pid, libc::SIGCONT));
    assert!(client.wait().expect("psql").success());
    psql(&cluster, "SELECT 'after'");
    let report = profile.stop();
    assert_eq!((report.statements.count, report.clusters[0].restarts), (2, 0));
    let slept = queries(&report, "pg_sleep")[0];
    let cpu: u64 = slept.ledger.parts.iter().filter(|part| part.state == "cpu").map(|part| part.ns).sum();
    println!("{} ns, at least {least} ns", slept.latency.max);
    assert!(slept.latency.max >= least, "{} ns, at least {least} ns", slept.latency.max);
    assert!(cpu < 200_000_000, "the pause is not on the CPU: {:?}", slept.ledger);
    assert_eq!(slept.ledger.parts.iter().map(|part| part.ns).sum::<u64>(), slept.ledger.wall_ns);
    assert_nothing_lost(&report);
}
