//! Planted causes: no CPU for those who want one, and CPU of helpers that a statement only waits for.

use std::time::Duration;

use pgstrobe_tests::*;

/// A statement of nothing but CPU time, again and again.
const WORK: &str = "SELECT count(*) FROM generate_series(1, 200000);\n";

fn work(cluster: &Cluster, clients: u32, seconds: u32) {
    std::fs::write(cluster.dir.join("work.sql"), WORK).expect("a script");
    let mut pgbench = cluster.client("pgbench");
    let (clients, seconds) = (clients.to_string(), seconds.to_string());
    let output = pgbench.args(["-n", "-f", "work.sql", "-c", &clients, "-T", &seconds]).output().expect("pgbench");
    assert!(output.status.success(), "{output:?}");
}

fn state(ledger: &Ledger, state: &str) -> u64 {
    ledger.parts.iter().filter(|part| part.state == state).map(|part| part.ns).sum()
}

/// CPU time of processes by what they are called, in clock ticks, as the kernel counts it for each.
fn ticks_of(name: &str) -> u64 {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let stat = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let ticks = stat.filter_map(|stat| {
        let (head, rest) = stat.rsplit_once(')')?;
        // utime and stime are the fields 14 and 15; `rest` begins with the third.
        let fields: Vec<u64> = rest.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
        head.ends_with(name).then(|| fields.iter().sum::<u64>())
    });
    ticks.sum()
}

#[test]
fn other_processes_take_the_cpu() {
    let cluster = quiet_with(&["max_parallel_workers_per_gather = 0"]);
    let cpus = std::thread::available_parallelism().expect("CPUs").get();
    let profile = Profile::start(&cluster, &[]);
    let hogs = Hogs::start(cpus * 3, &cluster.dir);
    work(&cluster, 2, 5);
    let ticks = ticks_of(HOG);
    // Processes are looked at when the profile ends: one that has ended by then could not be named.
    let report = profile.stop();
    drop(hogs);

    // A tick is a hundredth of a second.
    let (others, own) = (ticks * 10_000_000, state(&report.statements.ledger, "cpu"));
    println!("others had {others} ns of the CPUs, the statements {own} ns");
    assert!(others > own, "others had {others} ns of the CPUs, the statements {own} ns");
    assert_largest(&report.statements.ledger, &["runnable"]);
    assert_nothing_lost(&report);
    let first = assert_first(&report, "cpu_starved_by_others");
    assert!(first.evidence.join("\n").contains(HOG), "{HOG} is not named: {first:#?}");
}

#[test]
fn a_cpu_quota() {
    let cluster = quiet_with(&["max_parallel_workers_per_gather = 0"]);
    let limit = match Cgroup::new("cpu") {
        Ok(limit) => limit,
        Err(reason) => skip!("no CPU quota can be set here: {reason}"),
    };
    // As in a pod, whose quota holds for its containers.
    let inner = limit.inner();
    inner.add(&cluster.pids());
    limit.limit_cpu(20);
    let profile = Profile::start(&cluster, &[]);
    let before = limit.throttled();
    work(&cluster, 1, 5);
    let after = limit.throttled();
    let report = profile.stop();

    let (periods, throttled) = (after.0 - before.0, after.1 - before.1);
    println!("throttled in {periods} periods, {throttled} ns");
    assert!(periods > 20, "{periods} periods");
    let ledger = &report.statements.ledger;
    assert_largest(ledger, &["runnable"]);
    let quota: u64 = ledger.parts.iter().filter(|p| p.cause.as_deref() == Some("cpu_quota")).map(|p| p.ns).sum();
    println!("runnable {} ns, of that for the quota {quota} ns", state(ledger, "runnable"));
    // One backend works, so what the group was held back is what it waited for, but for what other processes of the
    // server and its own start and end had of it.
    assert!(quota.abs_diff(throttled) < throttled / 10, "{quota} ns, the kernel says {throttled} ns");
    // Nothing else keeps it from running, wherever in a statement the quota runs out.
    let others = state(ledger, "runnable") - quota;
    assert!(others < quota / 50, "{others} ns held back by others");
    assert_nothing_lost(&report);
    assert_first(&report, "cpu_quota");
}

/// The leader waits for its workers, which do all of the work.
#[test]
fn parallel_workers() {
    let cluster = quiet_with(&[
        "parallel_leader_participation = off",
        "max_parallel_workers_per_gather = 2",
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
        "min_parallel_table_scan_size = 0",
        "jit = off",
    ]);
    psql(&cluster, "CREATE TABLE big AS SELECT i, md5(i::text) AS m FROM generate_series(1, 300000) i");
    psql(&cluster, "ANALYZE big");
    let query = "SELECT count(*) FILTER (WHERE sha512(m::bytea) > 'x') FROM big";
    let profile = Profile::start(&cluster, &[]);
    let activity = Activity::watch(&cluster, Duration::from_millis(20));
    let plan = psql(&cluster, &format!("EXPLAIN (ANALYZE, TIMING OFF) {query}"));
    for _ in 0..8 {
        psql(&cluster, query);
    }
    let samples = activity.stop();
    let report = profile.stop();

    assert!(plan.contains("Workers Launched: 2"), "{plan}");
    assert!(samples.share("IPC:") > 0.5, "{samples:?}");
    assert_largest(&report.statements.ledger, &["IPC:ExecuteGather", "IPC:BgWorkerShutdown"]);
    let workers = report.backends.iter().filter(|backend| backend.role == "parallel worker").count();
    assert_eq!(workers, 18, "nine statements of two workers");
    assert_nothing_lost(&report);
    assert_first(&report, "parallel_workers");
}
