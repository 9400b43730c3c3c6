//! The harness holds what the other tests take for granted; needs no pgstrobe.

use std::collections::BTreeSet;

use pgstrobe_tests::*;

/// Messages of each kind that the server logged while `load` ran.
fn logged(cluster: &Cluster, load: impl FnOnce()) -> [usize; 4] {
    let from = std::fs::metadata(cluster.log_path()).expect("log").len() as usize;
    load();
    let log = std::fs::read(cluster.log_path()).expect("log");
    let text = String::from_utf8_lossy(&log[from..]).into_owned();
    let count = |kind: &str| text.lines().filter(|line| line.contains("duration: ") && line.contains(kind)).count();
    [count(" statement: "), count(" parse "), count(" bind "), count(" execute ")]
}

/// What pgbench sends for a script of one command, as the server saw it.
#[test]
fn pgbench_sends_what_the_counts_expect() {
    let cluster = quiet_with(&["log_min_duration_statement = 0"]);
    cluster.pgbench_init(1).expect("pgbench -i");
    let run = |args: &[&str]| logged(&cluster, || drop(Pgbench::new(&cluster, 4, 25).args(args).run()));
    assert_eq!(run(&["-M", "simple"]), [100, 0, 0, 0]);
    assert_eq!(run(&["-M", "extended"]), [0, 100, 100, 100]);
    assert_eq!(run(&["-M", "prepared"]), [0, 4, 100, 100]);
    assert_eq!(run(&["-M", "prepared", "-C"]), [0, 100, 100, 100]);
    let built_in = |args: &[&str]| {
        logged(&cluster, || assert!(cluster.client("pgbench").args(args).output().expect("pgbench").status.success()))
    };
    assert_eq!(built_in(&["-n", "-S", "-c", "4", "-t", "25"]), [100 + 2, 0, 0, 0]);
    assert_eq!(built_in(&["-n", "-c", "2", "-t", "5"]), [10 * 7 + 2, 0, 0, 0]);
    assert_eq!(logged(&cluster, || drop(psql(&cluster, "SELECT 1"))), [1, 0, 0, 0]);
}

#[test]
fn pgbench_logs_every_transaction() {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    let latencies = Pgbench::new(&cluster, 2, 50).log().run().latencies;
    assert_eq!(latencies.len(), 100);
    assert!(latencies.quantile(0.5) > 1000 && latencies.quantile(0.5) < 1_000_000_000);
}

#[test]
fn bpftrace_counts_commits() {
    if !installed("bpftrace") {
        skip!("bpftrace is not installed");
    }
    let cluster = quiet_cluster();
    psql(&cluster, "CREATE TABLE t (a int)");
    let witness = BpftraceSyncs::start();
    Pgbench::new(&cluster, 1, 50).script("INSERT INTO t VALUES (1);\n").run();
    psql(&cluster, "CHECKPOINT");
    // The backend is gone: any pid whose parent was the postmaster counts here, and others may sync as well.
    let all: BTreeSet<u32> = (1..=4_194_304).collect();
    let counts = witness.stop(&all);
    let commits = counts.iter().filter(|((_, call), count)| call == "fdatasync" && **count == 50).count();
    assert!(commits >= 1, "{counts:?}");
    let checkpointer = counts.keys().filter(|(pid, _)| cluster.pids().contains(pid)).count();
    assert!(checkpointer >= 1, "{counts:?}");
}

#[test]
fn strace_names_the_files() {
    if !installed("strace") {
        skip!("strace is not installed");
    }
    let cluster = quiet_cluster();
    psql(&cluster, "CREATE TABLE t (a int)");
    let witness = StraceSyncs::start(&cluster);
    Pgbench::new(&cluster, 1, 50).script("INSERT INTO t VALUES (1);\n").run();
    psql(&cluster, "CHECKPOINT");
    let counts = witness.stop();
    let wal = counts.iter().filter(|((_, call, file), _)| call == "fdatasync" && file.starts_with("pg_wal/0"));
    assert!(wal.map(|(_, count)| count).sum::<u64>() >= 50, "{counts:?}");
    assert!(counts.keys().any(|(_, _, file)| file == "global/pg_control"), "{counts:?}");
}

#[test]
fn restart_and_tls() {
    let mut cluster = cluster(ClusterOptions { tls: true, ..Default::default() });
    let old = cluster.pid();
    cluster.restart().expect("restart");
    assert_ne!(cluster.pid(), old);
    let mut psql = client_over_tcp(&cluster, "psql");
    let output = psql.env("PGSSLMODE", "require").args(["-X", "-A", "-t", "-c", "SELECT 1"]).output().expect("psql");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "{output:?}");
    let (pids, dir) = (cluster.pids(), cluster.dir.clone());
    assert!(pids.len() > 3);
    drop(cluster);
    assert!(!dir.exists());
    assert!(pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()), "{pids:?} are gone");
}
