//! Planted causes: what lies in a statement itself, or in the client it answers.

use std::time::Duration;

use pgstrobe_tests::*;

/// A client that asks for much and takes its time to read it.
#[test]
fn a_client_that_does_not_read() {
    let cluster = cluster(ClusterOptions { tcp: true, ..ClusterOptions::with(QUIET) });
    let profile = Profile::start(&cluster, &[]);
    let activity = Activity::watch(&cluster, Duration::from_millis(20));
    // More than the buffers of both ends hold.
    let sql = "SELECT repeat('x', 1000) FROM generate_series(1, 50000)";
    let bytes = read_late(&cluster, sql, Duration::from_secs(3));
    let samples = activity.stop();
    let report = profile.stop();

    assert!(bytes > 50_000_000, "{bytes} bytes");
    assert!(samples.share("Client:ClientWrite") > 0.8, "{samples:?}");
    assert_largest(&report.statements.ledger, &["Client:ClientWrite"]);
    assert_nothing_lost(&report);
    assert_first(&report, "client_slow");
}

fn temp_bytes(cluster: &Cluster) -> u64 {
    psql(cluster, "SELECT temp_bytes FROM pg_stat_database WHERE datname = 'postgres'").parse().expect("bytes")
}

#[test]
fn a_sort_that_spills() {
    let cluster = quiet_with(&["work_mem = 64kB", "log_temp_files = 0", "max_parallel_workers_per_gather = 0"]);
    // Wide rows by a narrow key: moving them costs more than comparing them.
    let table = "CREATE TABLE big AS SELECT i * 7919 % 100003 AS k, repeat(md5(i::text), 30) AS m FROM \
                 generate_series(1, 60000) i";
    psql(&cluster, table);
    let sort = "SELECT k, m FROM big ORDER BY k OFFSET 59999";
    let plan = psql(&cluster, &format!("EXPLAIN ANALYZE {sort}"));
    assert!(plan.contains("Sort Method: external merge"), "{plan}");
    let profile = Profile::start(&cluster, &[]);
    let activity = Activity::watch(&cluster, Duration::from_millis(10));
    let before = temp_bytes(&cluster);
    let logged = || cluster.log_tail(10_000).matches("temporary file: path").count();
    let logged_before = logged();
    for _ in 0..4 {
        psql(&cluster, sort);
    }
    wait_until("temporary files are counted", || temp_bytes(&cluster) > before + (200 << 20));
    let samples = activity.stop();
    let logged = logged() - logged_before;
    let report = profile.stop();

    assert!(logged >= 4, "{logged} temporary files in the log");
    assert!(samples.share("IO:BufFileRead") + samples.share("IO:BufFileWrite") > 0.3, "{samples:?}");
    let sorts = queries(&report, "ORDER BY k");
    assert_eq!(sorts.iter().map(|query| query.calls).sum::<u64>(), 4);
    // In the page cache a temporary file costs CPU time, and its waits are short.
    assert_largest(&report.statements.ledger, &["cpu", "IO:BufFileWrite", "IO:BufFileRead"]);
    assert_nothing_lost(&report);
    assert_first(&report, "spill");
}

#[test]
fn a_sleep() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let activity = Activity::watch(&cluster, Duration::from_millis(20));
    psql(&cluster, "SELECT pg_sleep(1.5)");
    let samples = activity.stop();
    let report = profile.stop();
    assert_eq!(samples.most(), "Timeout:PgSleep");
    assert_largest(&report.statements.ledger, &["Timeout:PgSleep"]);
    assert_nothing_lost(&report);
    assert_first(&report, "sleep");
}
