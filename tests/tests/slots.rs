//! Backends share slots by their pid, and statements come in batches: neither may lose or double one.

use pgstrobe_common::state::BACKEND_SLOTS;
use pgstrobe_tests::*;

/// Reports of intervals split the statements between them.
#[test]
fn intervals_add_up() {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    let profile = Profile::start(&cluster, &["--interval", "0.2"]);
    // Slow enough for some twenty reports, and for batches that are still open when one is made.
    Pgbench::new(&cluster, 4, 1000).args(&["-R", "1000"]).run();
    let reports = profile.stop_all();
    assert!(reports.len() > 10, "{} reports", reports.len());
    assert_eq!(reports.iter().map(|report| report.statements.count).sum::<u64>(), 4000);
    let of_classes: u64 = reports.iter().map(|report| calls(report, "abalance")).sum();
    assert_eq!(of_classes, 4000);
    reports.iter().for_each(assert_nothing_lost);
}

/// Two backends whose pids differ by the number of slots.
#[test]
fn a_slot_that_is_taken() {
    // Those of the first backends, and of processes that begin meanwhile.
    const ROOM: u32 = 100;
    let limit: u32 = std::fs::read_to_string("/proc/sys/kernel/pid_max").expect("pid_max").trim().parse().expect("pid");
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let taken = pids_taken();
    let is_free = |low: &u32| taken.range(low..&(low + ROOM)).next().is_none();
    let is_free_twice = |low: &u32| is_free(low) && is_free(&(low + BACKEND_SLOTS));
    let Some(low) = (1_000..limit.saturating_sub(BACKEND_SLOTS + ROOM)).step_by(ROOM as usize).find(is_free_twice)
    else {
        skip!("pids end at {limit}: no two free ones share a slot");
    };
    std::fs::write("/proc/sys/kernel/ns_last_pid", low.to_string()).expect("ns_last_pid");
    let mut first = cluster.client("psql");
    first.args(["-X", "-c", "SELECT 'the first', pg_sleep(6)"]).stdout(std::process::Stdio::null());
    let mut first = first.spawn().expect("psql");
    let ask = || psql(&cluster, "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT ''the first%'");
    wait_until("the first backend", || !ask().is_empty());
    let of_first: u32 = ask().parse().expect("a pid");
    let wanted = of_first + BACKEND_SLOTS;
    let mut tries = 0;
    loop {
        // psql takes the number before.
        std::fs::write("/proc/sys/kernel/ns_last_pid", (wanted - 2).to_string()).expect("ns_last_pid");
        tries += 1;
        if psql(&cluster, "SELECT 'the second', pg_backend_pid()").ends_with(&format!("|{wanted}")) {
            break;
        }
        assert!(tries < 50, "no backend of pid {wanted}");
    }
    assert!(first.wait().expect("psql").success());
    let report = profile.stop();
    assert_eq!(calls(&report, "pg_sleep"), 1);
    assert_eq!(calls(&report, "pg_backend_pid"), tries);
    for pid in [of_first, wanted] {
        let backend = report.backends.iter().find(|backend| backend.pid == pid).expect("the backend");
        assert_eq!(backend.statements, 1, "of pid {pid}");
    }
    assert_nothing_lost(&report);
}

/// A backend of a pid that another one had a moment ago is another backend.
#[test]
fn a_pid_used_again() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let ask = || psql(&cluster, "SELECT pg_backend_pid()").parse::<u32>().expect("a pid");
    let first = ask();
    let mut tries = 1;
    loop {
        // psql takes the number before.
        std::fs::write("/proc/sys/kernel/ns_last_pid", (first - 2).to_string()).expect("ns_last_pid");
        tries += 1;
        if ask() == first {
            break;
        }
        assert!(tries < 50, "no second backend of pid {first}");
    }
    let report = profile.stop();
    assert_eq!(report.statements.count, tries);
    let same: Vec<_> = report.backends.iter().filter(|backend| backend.pid == first).collect();
    assert_eq!(same.iter().map(|backend| backend.statements).collect::<Vec<_>>(), [1, 1]);
    assert!(same.iter().all(|backend| !backend.alive && backend.startup_ns.is_some()));
    assert_nothing_lost(&report);
}
