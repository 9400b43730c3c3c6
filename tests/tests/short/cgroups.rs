//! What a cgroup does to a backend, and nothing but the task or its kernel stack says.

use std::time::Duration;

use pgstrobe_tests::*;

use crate::assert_ledgers_sum;

/// By how much the scheduler's clock and the moments at which switches are seen may shift time from one side of a switch to
/// the other before the ledger calls it an interruption (`SWITCH` in the eBPF side's `ledger.rs`).
const SWITCH_NS: u64 = 200_000;

/// What `cause` took of the statements' time.
fn caused(report: &Report, cause: &str) -> u64 {
    let parts = report.statements.ledger.parts.iter().filter(|part| part.cause.as_deref() == Some(cause));
    parts.map(|part| part.ns).sum()
}

/// Asks a statement of a session in a cgroup, while `meanwhile` does something to that and knows the backend's pid.
fn asked_in(group: &Cgroup, cluster: &Cluster, sql: &str, meanwhile: impl FnOnce(u32) + Send) -> Report {
    let mut client = Client::connect(cluster, "limited");
    let backend = client.backend(cluster);
    group.add(&[backend]);
    let profile = Profile::start(cluster, &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| meanwhile(backend));
        client.ask(sql);
    });
    let report = profile.stop();
    assert_ledgers_sum(&report);
    report
}

/// A backend whose cgroup is frozen for a second while it computes: only the task or its kernel stack says so.
///
/// How long that is the test's own clock brackets: not before the group is told, and no later than the backend has left the
/// CPU in a frozen group; not before the group is told of the end, and no later than the backend has CPU time again.
#[test]
fn a_frozen_cgroup() {
    let group = match Cgroup::new("freezer") {
        Ok(group) => group,
        Err(reason) => skip!("{reason}"),
    };
    let cluster = quiet_cluster();
    // Work without end, and without sleeps, until the file is gone. In SQL alone: not every server here has PL/pgSQL.
    let go_on = cluster.data.join("go_on");
    std::fs::write(&go_on, "").expect("a file in the data directory");
    let work = "WITH RECURSIVE work(n) AS (SELECT 0::bigint UNION ALL \
                SELECT (SELECT count(*) FROM generate_series(1, 1000 + 0 * n)) FROM work \
                WHERE (pg_stat_file('go_on', true)).size IS NOT NULL) SELECT count(*) FROM work";
    let (mut least, mut most) = (0, 0);
    let (holes, stolen) = (Holes::watch(), stolen_ns());
    let report = asked_in(&group, &cluster, work, |backend| {
        let idle = cpu_ns(backend);
        wait_until("the backend computes", || cpu_ns(backend) > idle + 30_000_000);
        let told = monotonic_ns();
        group.freeze(true);
        wait_until("the backend stands still", || group.is_frozen() && sleeps_in(backend).is_some());
        let stands = monotonic_ns();
        std::thread::sleep(Duration::from_secs(1));
        std::fs::remove_file(&go_on).expect("an end to the work");
        let frozen = cpu_ns(backend);
        least = monotonic_ns() - stands;
        group.freeze(false);
        wait_until("the backend computes again", || cpu_ns(backend) > frozen);
        most = monotonic_ns() - told;
    });
    // At each end the machine may stand still between the moment of the scheduler and that of the hook.
    let room = SWITCH_NS + 2 * holes.largest_ns() + (stolen_ns() - stolen);
    let ns = caused(&report, "frozen");
    println!("frozen for {ns} ns, between {least} and {most} ns (± {room} ns)");
    assert!(ns + room >= least && ns <= most + room, "{ns} ns of {least} to {most} ns (± {room} ns)");
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
    let report = asked_in(&group, &cluster, work, |_| {
        wait_until("the group is short of memory", || group.starves());
        std::thread::sleep(Duration::from_secs(3));
        group.feed();
    });
    let ns = caused(&report, cause);
    println!("{cause} for {ns} ns");
    assert!(ns > 1_000_000_000, "{ns} ns: {:?}", report.statements.ledger);
    assert_first(&report, "reclaim");
}
