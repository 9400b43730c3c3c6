//! Syncs are counted per process and per file as bpftrace and strace count them on the same run.

use std::collections::{BTreeMap, BTreeSet};

use pgstrobe_tests::*;

const METHODS: [&str; 4] = ["fdatasync", "fsync", "open_datasync", "open_sync"];

fn load(cluster: &Cluster) {
    let args = ["-n", "-b", "tpcb-like", "-c", "2", "-t", "50"];
    let output = cluster.client("pgbench").args(args).output().expect("pgbench");
    assert!(output.status.success(), "{output:?}");
    // The checkpointer syncs relations, SLRUs and the control file.
    psql(cluster, "CHECKPOINT");
}

fn prepared(method: &str) -> Cluster {
    let cluster = quiet_with(&[&format!("wal_sync_method = {method}")]);
    cluster.pgbench_init(1).expect("pgbench -i");
    psql(&cluster, "CHECKPOINT");
    cluster
}

#[test]
fn per_process_as_bpftrace() {
    if !installed("bpftrace") {
        skip!("bpftrace is not installed");
    }
    for method in METHODS {
        let cluster = prepared(method);
        let witness = BpftraceSyncs::start();
        let profile = Profile::start(&cluster, &[]);
        load(&cluster);
        let report = profile.stop();
        // Backends that have ended are known to pgstrobe; the long-lived ones to /proc as well.
        let mut pids: BTreeSet<u32> = cluster.pids().into_iter().collect();
        pids.extend(report.backends.iter().map(|backend| backend.pid));
        pids.extend(report.fsync.by.iter().map(|row| row.pid));
        let expected = witness.stop(&pids);

        let mut seen: BTreeMap<(u32, String), u64> = BTreeMap::new();
        // A write that is a sync is no sync call: bpftrace does not count it here, strace does below.
        for row in report.fsync.by.iter().filter(|row| row.syscall != "write") {
            *seen.entry((row.pid, row.syscall.to_string())).or_default() += row.count;
        }
        assert!(expected.values().sum::<u64>() > 5, "{method}: bpftrace saw next to nothing: {expected:?}");
        assert_eq!(seen, expected, "{method}");
        assert_nothing_lost(&report);
    }
}

#[test]
fn per_file_as_strace() {
    if !installed("strace") {
        skip!("strace is not installed");
    }
    for method in METHODS {
        let cluster = prepared(method);
        let witness = StraceSyncs::start(&cluster);
        let profile = Profile::start(&cluster, &[]);
        load(&cluster);
        let report = profile.stop();
        let calls = witness.stop();

        let writes_sync = method.starts_with("open_");
        // With open_datasync and open_sync the descriptor of a WAL segment is opened for synchronous writes. A segment
        // in the making has another name and is written without.
        let synced_write = |file: &str| writes_sync && file.starts_with("pg_wal/0");
        let mut expected: BTreeMap<(u32, String, String), u64> = calls;
        expected.retain(|(_, call, file), _| call != "write" || synced_write(file));
        let mut seen: BTreeMap<(u32, String, String), u64> = BTreeMap::new();
        for row in &report.fsync.by {
            *seen.entry((row.pid, row.syscall.to_string(), row.file.clone())).or_default() += row.count;
        }
        assert!(expected.values().sum::<u64>() > 100, "{method}: strace saw too little: {expected:?}");
        assert_eq!(seen, expected, "{method}");
        let total: u64 = seen.values().sum();
        assert_eq!(report.fsync.latency.count, total, "{method}: the histogram holds every call");
        assert_nothing_lost(&report);
    }
}

#[test]
fn a_commit_is_a_wal_sync_of_its_backend() {
    let cluster = prepared("fdatasync");
    psql(&cluster, "CREATE TABLE t (a int)");
    let profile = Profile::start(&cluster, &[]);
    let run = Pgbench::new(&cluster, 1, 100).script("INSERT INTO t VALUES (1);\n").run();
    let report = profile.stop();
    assert_eq!(run.transactions, 100);
    let commits = report.fsync.by.iter().filter(|row| row.role == "client backend" && row.file_kind == "wal");
    assert_eq!(commits.map(|row| row.count).sum::<u64>(), 100);
    assert_eq!(report.fsync.errors, 0);
}
