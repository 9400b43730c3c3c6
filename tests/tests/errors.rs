//! Statements that do not end well are statements: failed, cancelled, cut off with their backend.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pgstrobe_tests::*;

fn sleeper(cluster: &Cluster) -> Child {
    let mut psql = cluster.client("psql");
    psql.args(["-X", "-q", "-c", "SELECT pg_sleep(30)"]).stdout(Stdio::null()).stderr(Stdio::null());
    let child = psql.spawn().expect("psql");
    wait_until("the sleeper sleeps", || cluster.pids().iter().any(|pid| title(*pid).contains("SELECT")));
    std::thread::sleep(Duration::from_millis(200));
    child
}

fn title(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Ends the sleeping backend by `function` of the server.
fn end_by(function: &str, boundary: &str) -> Report {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &["--boundary", boundary]);
    let mut child = sleeper(&cluster);
    let sql = "FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
    assert_eq!(psql(&cluster, &format!("SELECT {function}(pid) {sql}")), "t");
    assert!(!child.wait().expect("psql ends").success(), "the sleeper was ended");
    profile.stop()
}

#[test]
fn failed() {
    let cluster = quiet_cluster();
    for boundary in ["socket", "uprobe"] {
        let profile = Profile::start(&cluster, &["--boundary", boundary]);
        psql(&cluster, "SELECT 1");
        psql_fails(&cluster, "SELECT 1 / 0");
        psql_fails(&cluster, "SELECT nowhere FROM nothing");
        psql(&cluster, "SELECT 1");
        let report = profile.stop();
        assert_eq!((report.statements.count, report.statements.errors), (4, 2), "{boundary}");
        assert_nothing_lost(&report);
    }
}

#[test]
fn cancelled() {
    for boundary in ["socket", "uprobe"] {
        let report = end_by("pg_cancel_backend", boundary);
        assert_eq!((report.statements.count, report.statements.errors), (2, 1), "{boundary}");
        let asleep: Vec<_> = report.queries.iter().filter(|query| query.errors == 1).collect();
        assert_eq!(asleep.len(), 1, "{boundary}: {:?}", report.queries);
        assert!(asleep[0].query.contains("pg_sleep") && asleep[0].latency.max < 10_000_000_000, "{asleep:?}");
    }
}

#[test]
fn terminated() {
    for boundary in ["socket", "uprobe"] {
        let report = end_by("pg_terminate_backend", boundary);
        assert_eq!(report.statements.terminated, 1, "{boundary}");
        assert_nothing_lost(&report);
    }
}

/// A session that is ended while its transaction waits for the client: that pause counts, although no statement follows it.
#[test]
fn terminated_while_idle_in_its_transaction() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let mut client = Client::connect(&cluster, "idler");
    let backend = client.backend(&cluster);
    let before = Instant::now();
    client.ask("BEGIN");
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let least = begun.elapsed();
    psql(&cluster, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'idler'");
    wait_until("the backend has ended", || !cluster.pids().contains(&backend));
    let most = before.elapsed();
    let report = profile.stop();
    let idler = report.backends.iter().find(|one| one.pid == backend).expect("its row");
    let idle = &idler.idle_in_transaction;
    assert_eq!(idle.count, 1, "{idle:?}");
    let total = Duration::from_nanos(idle.total_ns);
    assert!(least <= total && total <= most, "{total:?}, between {least:?} and {most:?}");
}

/// SIGKILL of one backend resets all of them; the statement has no end that anyone sent.
#[test]
fn killed() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let mut child = sleeper(&cluster);
    let pid = cluster.pids().into_iter().find(|pid| title(*pid).contains("SELECT")).expect("the sleeper");
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    assert!(!child.wait().expect("psql ends").success());
    wait_until("the server is back", || cluster.psql("SELECT 1").is_ok());
    psql(&cluster, "SELECT 'after'");
    let report = profile.stop();
    assert_eq!(report.statements.terminated, 1);
    assert!(report.statements.count >= 2, "later statements are counted");
}

#[test]
fn still_running_at_the_end() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let mut child = sleeper(&cluster);
    let report = profile.stop();
    let _ = (child.kill(), child.wait());
    assert_eq!(report.statements.count, 0);
    assert_eq!(report.unfinished.len(), 1);
    assert!(!report.unfinished[0].began_before);
}
