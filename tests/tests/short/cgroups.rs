//! What a cgroup does to a backend, and nothing but the task or its kernel stack says.

use std::time::Duration;

use pgstrobe_tests::*;

use crate::assert_ledgers_sum;

/// What `cause` took of the statements' time.
fn caused(report: &Report, cause: &str) -> u64 {
    let parts = report.statements.ledger.parts.iter().filter(|part| part.cause.as_deref() == Some(cause));
    parts.map(|part| part.ns).sum()
}

/// Asks a statement of a session in a cgroup, while `meanwhile` does something to that.
fn asked_in(group: &Cgroup, cluster: &Cluster, sql: &str, meanwhile: impl FnOnce() + Send) -> Report {
    let mut client = Client::connect(cluster, "limited");
    group.add(&[client.backend(cluster)]);
    let profile = Profile::start(cluster, &[]);
    std::thread::scope(|scope| {
        scope.spawn(meanwhile);
        client.ask(sql);
    });
    let report = profile.stop();
    assert_ledgers_sum(&report);
    report
}

/// A backend whose cgroup is frozen for a second while it computes: only its kernel stack says so.
#[test]
fn a_frozen_cgroup() {
    let group = match Cgroup::new("freezer") {
        Ok(group) => group,
        Err(reason) => skip!("{reason}"),
    };
    let cluster = quiet_cluster();
    let work = "SELECT count(*) FROM generate_series(1, 3000000)";
    let report = asked_in(&group, &cluster, work, || {
        std::thread::sleep(Duration::from_millis(150));
        group.freeze(true);
        std::thread::sleep(Duration::from_secs(1));
        group.freeze(false);
    });
    let ns = caused(&report, "frozen");
    println!("frozen for {ns} ns");
    assert!((950_000_000..1_200_000_000).contains(&ns), "{ns} ns: {:?}", report.statements.ledger);
    assert!(report.findings.iter().any(|finding| finding.id == "frozen"), "{:?}", report.findings);
}

/// A backend that gets no more memory: paused by `memory.high` (version 2), or until there is some (version 1).
#[test]
fn a_cgroup_without_memory() {
    let group = match Cgroup::new("memory") {
        Ok(group) => group,
        Err(reason) => skip!("{reason}"),
    };
    let cluster = quiet_with(&["work_mem = '256MB'"]);
    let cause = if group.is_v2() { "memcg_throttle" } else { "memcg_oom" };
    group.starve(6 << 20);
    let work = "SELECT count(*) FROM (SELECT g FROM generate_series(1, 400000) g ORDER BY -g) x";
    let report = asked_in(&group, &cluster, work, || {
        std::thread::sleep(Duration::from_secs(3));
        group.feed();
    });
    let ns = caused(&report, cause);
    println!("{cause} for {ns} ns");
    assert!(ns > 1_000_000_000, "{ns} ns: {:?}", report.statements.ledger);
    assert_first(&report, "reclaim");
}
