//! Planted causes: a lock inside the server that everybody wants.

use std::time::Duration;

use pgstrobe_tests::*;

const CLIENTS: u32 = 16;

/// Bulk inserts of many clients with next to no WAL buffers: whoever writes WAL must first write that of the others out,
/// and keeps one of the few insertion locks for as long.
#[test]
fn wal_insertion_with_few_buffers() {
    let cluster = quiet_with(&["wal_buffers = 32kB"]);
    // A table for each client: they share nothing but the WAL.
    let table = |n| format!("CREATE TABLE t{n} (a text); ALTER TABLE t{n} ALTER a SET STORAGE plain;");
    psql(&cluster, &(0..CLIENTS).map(table).collect::<String>());
    let script = "INSERT INTO t:client_id SELECT repeat('x', 2000) FROM generate_series(1, 100);\n";
    std::fs::write(cluster.dir.join("insert.sql"), script).expect("a script");
    let profile = Profile::start(&cluster, &[]);
    let activity = Activity::watch(&cluster, Duration::from_millis(20));
    let mut pgbench = cluster.client("pgbench");
    let output = pgbench.args(["-n", "-f", "insert.sql", "-c", &CLIENTS.to_string(), "-T", "4"]).output();
    assert!(output.as_ref().is_ok_and(|output| output.status.success()), "{output:?}");
    let samples = activity.stop();
    let full = psql(&cluster, "SELECT wal_buffers_full FROM pg_stat_wal");
    let report = profile.stop();

    println!("{full} times the buffers were full");
    assert!(full.parse::<u64>().expect("a count") > 10_000, "{full}");
    assert!(samples.most().starts_with("LWLock:"), "{samples:?}");
    assert_largest(&report.statements.ledger, &["LWLock:WALInsert"]);
    assert_nothing_lost(&report);
    let first = assert_first(&report, "lwlock_contention");
    assert!(first.title.contains("WALInsert") || first.evidence.join("\n").contains("WALInsert"), "{first:#?}");
}
