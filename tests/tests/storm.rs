//! A thousand connections a second, or as many as this machine makes: each is counted, and nothing stays of them.

use pgstrobe_tests::*;

/// Clients at once, connections of each.
const CLIENTS: u64 = 8;
const EACH: u64 = 500;

/// File descriptors of a process, and its resident memory in kB.
fn size(pid: u32) -> (usize, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count();
    (descriptors, rss.trim().trim_end_matches(" kB").parse().expect("a number"))
}

fn server_sessions(cluster: &Cluster) -> u64 {
    psql(cluster, "SELECT sessions FROM pg_stat_database WHERE datname = 'postgres'").parse().expect("a number")
}

/// Client backends of the whole profile, whoever they were: what has no word with the server has no role.
fn visitors(report: &Report) -> u64 {
    let of = |name| report.roles.iter().find(|role| role.role == name).map_or(0, |role| role.processes);
    of("client backend") + of("unknown")
}

#[test]
fn every_connection_is_counted() {
    const SENT: u64 = CLIENTS * EACH;
    let cluster = quiet_cluster();
    let objects = BpfObjects::now();
    let before = server_sessions(&cluster);
    let profile = Profile::start(&cluster, &[]);
    // Buffers have their size after a first gust.
    storm(&cluster, Visit::Statement, CLIENTS, 50);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (descriptors, rss_kb) = size(profile.pid());
    let took = storm(&cluster, Visit::Statement, CLIENTS, EACH);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let after = size(profile.pid());
    println!("{:.0} connections a second with a statement each", SENT as f64 / took.as_secs_f64());
    println!("descriptors {descriptors} -> {}, resident {rss_kb} -> {} kB", after.0, after.1);
    let report = profile.stop();
    let all = SENT + CLIENTS * 50;
    assert_eq!(calls(&report, "SELECT $1"), all);
    assert_eq!((report.statements.count, report.statements.errors, report.statements.terminated), (all, 0, 0));
    assert_eq!(visitors(&report), all);
    // What it was told of this profile, less the question before.
    assert_eq!(server_sessions(&cluster) - before, all + 1, "the server's own count");
    assert!(after.0 <= descriptors + 1, "a descriptor now and then is that of a tick");
    // One row of the report is kept for each: some kilobytes.
    assert!(after.1 <= rss_kb + 12 * SENT, "resident memory");
    assert_lost_in_storm(&report, all);
    wait_until("no programs, maps or links are left", || BpfObjects::now().since(&objects).is_empty());
}

/// The server reads such a statement out of its own buffer, and never asks for it.
#[test]
fn a_statement_with_the_start_up_packet() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    storm(&cluster, Visit::Together, CLIENTS, 50);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let report = profile.stop();
    let all = CLIENTS * 50;
    assert_eq!(calls(&report, "SELECT $1"), all);
    assert_eq!((report.statements.count, report.statements.errors, report.statements.terminated), (all, 0, 0));
    assert_eq!(visitors(&report), all);
    assert_lost_in_storm(&report, all);
}

/// They are gone before anybody can ask who they were: no statement, no backend that lives on, no loss.
#[test]
fn those_that_hang_up() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let took = storm(&cluster, Visit::HangUp, CLIENTS, EACH);
    println!("{:.0} connections a second that hang up", (CLIENTS * EACH) as f64 / took.as_secs_f64());
    let nothing = storm(&cluster, Visit::Nothing, CLIENTS, 50);
    println!("{:.0} connections a second without a statement", (CLIENTS * 50) as f64 / nothing.as_secs_f64());
    // The postmaster takes them one after the other.
    wait_until("the last is gone", || cluster.pids().len() == cluster_processes(&cluster));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let report = profile.stop();
    assert_eq!(report.statements.count, 0);
    assert_eq!(visitors(&report), CLIENTS * (EACH + 50), "{:?}", report.roles);
    let live = report.backends.iter().filter(|backend| backend.alive).count();
    assert_eq!(live, cluster.pids().len());
    assert_lost_in_storm(&report, CLIENTS * (EACH + 50));
}

/// The postmaster, and its children that serve no client.
fn cluster_processes(cluster: &Cluster) -> usize {
    let serves = |pid: &&u32| {
        let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let auxiliary = ["checkpointer", "background writer", "walwriter", "launcher", "logger"];
        !auxiliary.iter().any(|name| title.contains(name)) && **pid != cluster.pid()
    };
    let pids = cluster.pids();
    pids.len() - pids.iter().filter(serves).count()
}

/// Nothing, but for reads of memory: a page of a process just forked need not be there yet. What hangs on such a read is
/// tried again, and counted above.
fn assert_lost_in_storm(report: &Report, connections: u64) {
    let mut lost = report.coverage.lost.clone();
    let unread = lost.remove("memory_read_failed").expect("the count of reads that failed");
    assert!(unread * 1_000 <= connections, "{unread} reads failed");
    assert!(lost.values().all(|count| *count == 0), "lost: {lost:?}");
}
