//! Planted causes: commits that wait, for a slow disk, for each other, for a standby.

use std::process::Command;
use std::thread;
use std::time::Duration;

use pgstrobe_tests::*;

const LIMIT: u32 = 40;

fn slow_wal() -> Result<SlowWal, String> {
    let wal = SlowWal::move_wal(quiet_cluster())?;
    psql(&wal.cluster, "CREATE TABLE t (a int)");
    Ok(wal)
}

/// Inserts of one row and their commits, for so many seconds.
fn inserts(cluster: &Cluster, clients: u32, seconds: u32) -> Command {
    std::fs::write(cluster.dir.join("insert.sql"), "INSERT INTO t VALUES (1);\n").expect("a script");
    let mut pgbench = cluster.client("pgbench");
    let (clients, seconds) = (clients.to_string(), seconds.to_string());
    pgbench.args(["-n", "-f", "insert.sql", "-c", &clients, "-j", "1", "-T", &seconds]);
    pgbench
}

fn run(mut command: Command) {
    let output = command.output().expect("the load");
    assert!(output.status.success(), "{output:?}");
}

/// Mean time of a sync, and its share of the time, as the server's own clock has it.
fn server_syncs(cluster: &Cluster) -> (f64, f64) {
    let row = psql(cluster, "SELECT wal_sync, wal_sync_time FROM pg_stat_wal");
    let (count, millis) = row.split_once('|').expect("two columns");
    (count.parse().expect("a count"), millis.parse().expect("milliseconds"))
}

#[test]
fn a_slow_wal_disk() {
    let wal = match slow_wal() {
        Ok(wal) => wal,
        Err(reason) => skip!("no slow disk can be made here: {reason}"),
    };
    let cluster = &wal.cluster;
    psql(cluster, "ALTER SYSTEM SET track_wal_io_timing = on");
    psql(cluster, "SELECT pg_reload_conf()");
    let profile = Profile::start(cluster, &[]);
    wal.limit(LIMIT);
    let before = server_syncs(cluster);
    let activity = Activity::watch(cluster, Duration::from_millis(20));
    run(inserts(cluster, 1, 4));
    let samples = activity.stop();
    let after = server_syncs(cluster);
    let report = profile.stop();

    let (count, millis) = (after.0 - before.0, after.1 - before.1);
    println!("{count} syncs of {:.1} ms each, the server says", millis / count);
    assert!(millis / count > 30.0, "the disk is not slow");
    assert!(samples.share("IO:WALSync") > 0.8, "{samples:?}");
    assert_largest(&report.statements.ledger, &["IO:WALSync"]);
    let seen = time_of(&report.statements.ledger, "IO:WALSync") as f64 / 1e6;
    assert!((seen / millis - 1.0).abs() < 0.05, "{seen} ms of WALSync, the server says {millis} ms");
    assert_nothing_lost(&report);
    assert_first(&report, "slow_wal_sync");
}

/// Many who commit on such a disk: one syncs for all, and the others wait for it.
#[test]
fn commits_that_wait_for_one_another() {
    let wal = match slow_wal() {
        Ok(wal) => wal,
        Err(reason) => skip!("no slow disk can be made here: {reason}"),
    };
    let cluster = &wal.cluster;
    let profile = Profile::start(cluster, &[]);
    wal.limit(LIMIT);
    let activity = Activity::watch(cluster, Duration::from_millis(20));
    run(inserts(cluster, 16, 4));
    let samples = activity.stop();
    let report = profile.stop();

    assert!(samples.share("LWLock:WALWrite") > 0.5, "{samples:?}");
    assert_largest(&report.statements.ledger, &["LWLock:WALWrite"]);
    assert_nothing_lost(&report);
    assert_first(&report, "group_commit");
}

#[test]
fn a_standby_that_stands_still() {
    let pair = Pair::synchronous();
    let primary = &pair.primary;
    psql(primary, "CREATE TABLE t (a int)");
    let profile = Profile::start(primary, &[]);
    let activity = Activity::watch(primary, Duration::from_millis(20));
    let stopped = Stopped::stop(&pair.standby.pids());
    let load = inserts(primary, 4, 3);
    let load = thread::spawn(move || run(load));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    wait_until("commits wait for the standby", || psql(primary, waiting) == "4");
    thread::sleep(Duration::from_millis(1500));
    // Where it was written to and where it was flushed to there.
    let behind = "SELECT pg_current_wal_lsn() > flush_lsn FROM pg_stat_replication";
    assert_eq!(psql(primary, behind), "t");
    drop(stopped);
    load.join().expect("the load");
    let samples = activity.stop();
    let report = profile.stop();

    assert_eq!(samples.most(), "IPC:SyncRep");
    assert_largest(&report.statements.ledger, &["IPC:SyncRep"]);
    assert_nothing_lost(&report);
    assert_first(&report, "sync_replication");
}
