//! What goes in comes out: the parts of each backend's account are the time it lived, and agree with the scheduler's own
//! account of the same process, under loads of all kinds.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use pgstrobe::report::model::Backend;
use pgstrobe_tests::*;
use xtask::children::Owned;

/// The built-in TPC-B, by a script of ours: pgbench then asks for nothing beforehand.
const TPC_B: &str = "\\set aid random(1, 100000)\n\\set tid random(1, 10)\n\\set delta random(-5000, 5000)\nBEGIN;\n\
    UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;\n\
    SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
    UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;\n\
    UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;\n\
    INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, 1, :aid, :delta, CURRENT_TIMESTAMP);\nEND;\n";

/// Time on a CPU and in the run queue, in nanoseconds.
fn schedstat(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("schedstat");
    let mut fields = text.split_whitespace().map(|field| field.parse().expect("a number"));
    (fields.next().expect("cpu"), fields.next().expect("delay"))
}

fn of_state(ledgers: &[&Ledger], state: &str) -> u64 {
    let parts = ledgers.iter().flat_map(|ledger| &ledger.parts);
    parts.filter(|part| part.state == state).map(|part| part.ns).sum()
}

/// Everything the report says about the time of one backend, its open statement included.
fn account<'a>(report: &'a Report, backend: &'a Backend) -> Vec<&'a Ledger> {
    let open = report.unfinished.iter().filter(|open| open.pid == backend.pid).map(|open| &open.ledger);
    [&backend.ledger, &backend.outside, &backend.startup].into_iter().chain(open).collect()
}

fn whole(ledgers: &[&Ledger]) -> u64 {
    ledgers.iter().flat_map(|ledger| &ledger.parts).map(|part| part.ns).sum()
}

fn off(seen: u64, expected: u64) -> f64 {
    seen.abs_diff(expected) as f64 / expected.max(1) as f64
}

/// Waits until the backends have done what they were asked for.
fn settle(pids: &[u32]) {
    let times = || pids.iter().map(|pid| schedstat(*pid)).collect::<Vec<_>>();
    wait_until("the backends are at rest", || {
        let before = times();
        sleep(Duration::from_millis(50));
        times() == before
    });
}

/// A sleep of some 20 ms that is in no part was seen once in a minute of backends' time: a share is told by a longer run.
const RUN: Duration = Duration::from_secs(10);

/// A load of pgbench that stands still while the profile begins and ends: nothing then happens between the moment the
/// scheduler's account is read and the edge of the profile.
fn hold_against_schedstat(script: &str, clients: usize) {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    std::fs::write(cluster.dir.join("load.sql"), script).expect("a script");
    let mut pgbench = cluster.client("pgbench");
    pgbench.args(["-n", "-f", "load.sql", "-c", &clients.to_string(), "-j", "2", "-T", "120"]);
    pgbench.stdout(Stdio::null()).stderr(Stdio::null());
    let pgbench = Owned::spawn(&mut pgbench, libc::SIGKILL).expect("pgbench");
    let names = "FROM pg_stat_activity WHERE application_name = 'pgbench' AND xact_start IS NOT NULL";
    wait_until("all clients work", || psql(&cluster, &format!("SELECT count(*) >= 1 {names}")) == "t");
    sleep(Duration::from_millis(200));
    let stopped = Stopped::stop(&[pgbench.id()]);
    let pids = psql(&cluster, "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench'");
    let pids: Vec<u32> = pids.lines().map(|pid| pid.parse().expect("a pid")).collect();
    assert_eq!(pids.len(), clients);
    settle(&pids);
    let profile = Profile::start(&cluster, &[]);
    let before: BTreeMap<u32, (u64, u64)> = pids.iter().map(|pid| (*pid, schedstat(*pid))).collect();
    let left: BTreeMap<u32, u64> = pids.iter().map(|pid| (*pid, switches(*pid))).collect();
    drop(stopped);
    sleep(RUN);
    let _stopped = Stopped::stop(&[pgbench.id()]);
    settle(&pids);
    let switched: BTreeMap<u32, u64> = pids.iter().map(|pid| (*pid, switches(*pid) - left[pid])).collect();
    let after: BTreeMap<u32, (u64, u64)> = pids.iter().map(|pid| (*pid, schedstat(*pid))).collect();
    let report = profile.stop();

    let (mut wrong, mut in_no_part) = (Vec::new(), 0);
    for pid in &pids {
        let backend = report.backends.iter().find(|backend| backend.pid == *pid).expect("the backend");
        let account = account(&report, backend);
        let (cpu, delay) = (after[pid].0 - before[pid].0, after[pid].1 - before[pid].1);
        let (all, seen_cpu, seen_delay) = (whole(&account), of_state(&account, "cpu"), of_state(&account, "runnable"));
        let unattributed = of_state(&account, "unattributed");
        println!(
            "{pid}: {all} of {} ns; CPU {seen_cpu} of {cpu} ({:+.3} %), run queue {seen_delay} of {delay} ({:+.3} %); \
             interrupted {} ns, unattributed {unattributed} ns, {} switches",
            report.duration_ns,
            (seen_cpu as f64 / cpu as f64 - 1.0) * 100.0,
            (seen_delay as f64 / delay as f64 - 1.0) * 100.0,
            of_state(&account, "interrupted"),
            switched[pid],
        );
        // 1 % of the larger of the two, because what one loses at a switch the other gets; and 300 ns for each switch, which
        // the scheduler and the hook see at different moments.
        let tolerance = cpu.max(delay) / 100 + switched[pid] * 300;
        in_no_part += unattributed;
        for (what, fits) in [
            // pgstrobe looks at its clock, and then at the backends: it may lose its CPU between the two.
            ("whole", all.abs_diff(report.duration_ns) < report.duration_ns / 1000 + 20_000_000),
            ("CPU", seen_cpu.abs_diff(cpu) < tolerance),
            ("run queue", seen_delay.abs_diff(delay) < tolerance),
            ("unattributed", unattributed < report.duration_ns / 100),
        ] {
            if !fits {
                wrong.push((*pid, what));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    let all = report.duration_ns * pids.len() as u64;
    assert!(in_no_part < all / 1000, "{in_no_part} of {all} ns are in no part");
    assert_nothing_lost(&report);
}

#[test]
fn tpc_b() {
    hold_against_schedstat(TPC_B, 4);
}

#[test]
fn select_only() {
    hold_against_schedstat(SELECT, 2);
}

/// Four times as many clients as CPUs.
#[test]
fn starved() {
    let cpus = std::thread::available_parallelism().expect("CPUs").get();
    hold_against_schedstat(SELECT, 4 * cpus);
}

/// A connection for each transaction: lives too short to be looked at one by one, so their sums.
#[test]
fn churn() {
    if !installed("bpftrace") {
        skip!("bpftrace is not installed");
    }
    let group = match Cgroup::new("cpuacct") {
        Ok(group) => group,
        Err(reason) => skip!("no account of CPU time for a group of processes: {reason}"),
    };
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    group.add(&cluster.pids());
    let profile = Profile::start(&cluster, &[]);
    // Behind the profile's hooks in both places, so that what it does there is in neither.
    let lives = Lives::watch(cluster.pid());
    let before = group.cpu_time();
    Pgbench::new(&cluster, 4, 150).args(&["-C"]).run();
    // The last backends leave.
    sleep(Duration::from_millis(200));
    let cpu = group.cpu_time() - before;
    let report = profile.stop();
    let lives = lives.stop();

    let ended: Vec<&Backend> = report.backends.iter().filter(|backend| lives.contains_key(&backend.pid)).collect();
    assert!(ended.len() >= 600, "{} backends", ended.len());
    let sum = |of: &dyn Fn(&[&Ledger]) -> u64| ended.iter().map(|backend| of(&account(&report, backend))).sum::<u64>();
    let (wall, delay) = (sum(&|ledgers| whole(ledgers)), sum(&|ledgers| of_state(ledgers, "runnable")));
    let life = |of: &dyn Fn(&Life) -> u64| ended.iter().map(|backend| of(&lives[&backend.pid])).sum::<u64>();
    let (expected_wall, expected_delay) = (life(&|life| life.wall_ns), life(&|life| life.run_delay_ns));
    let everyone = report.backends.iter().map(|backend| of_state(&account(&report, backend), "cpu")).sum::<u64>();
    println!("{} lives: {wall} of {expected_wall} ns; run queue {delay} of {expected_delay} ns", ended.len());
    println!("CPU {everyone} of {cpu} ns");
    assert!(off(wall, expected_wall) < 0.001);
    assert!(delay.abs_diff(expected_delay) < expected_delay.max(cpu) / 100);
    // The kernel frees a process's memory after the exit that all can see.
    let freed = life(&|life| life.freed_ns);
    println!("{freed} ns after their exits");
    // That includes what a hypervisor took, and what followed a switch that was not shown.
    let near = cpu / 100;
    assert!(everyone <= cpu + near && everyone + freed + near >= cpu, "CPU {everyone} and {freed} of {cpu} ns");
    assert_nothing_lost(&report);
}
