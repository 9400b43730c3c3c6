//! Checkpoints against the server's own log, WAL against `pg_stat_wal`, and what checkpoints do to statements.

use std::process::{Command, Stdio};
use std::time::Duration;

use pgstrobe::report::model::Checkpoint;
use pgstrobe_tests::*;

/// Three causes in a row. `checkpoint_timeout` has a least value, so that this takes more than half a minute.
#[test]
fn as_the_server_logs_them() {
    let settings = ["log_checkpoints = on", "checkpoint_timeout = 30s", "max_wal_size = 64MB"];
    // As fast as can be: one by time would take its time.
    let cluster = quiet_with(&[&settings[..], &["checkpoint_completion_target = 0.01"]].concat());
    psql(&cluster, "CREATE TABLE t AS SELECT i, repeat('x', 500) FROM generate_series(1, 2000) i");
    let from = log_length(&cluster);
    let profile = Profile::start(&cluster, &[]);
    let ended =
        |n: usize| wait_until("the next checkpoint has ended", || logged_checkpoints(&cluster, from).len() >= n);
    for _ in 0..350 {
        if logged_checkpoints(&cluster, from).is_empty() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    ended(1);
    // Far enough apart to read pg_control in between.
    let pause = || std::thread::sleep(Duration::from_millis(400));
    pause();
    psql(&cluster, "INSERT INTO t SELECT i, repeat('y', 500) FROM generate_series(1, 2000) i");
    psql(&cluster, "CHECKPOINT");
    pause();
    ended(2);
    psql(&cluster, "INSERT INTO t SELECT i, repeat('z', 500) FROM generate_series(1, 110000) i");
    ended(3);
    pause();
    // Two that follow each other at once.
    psql(&cluster, "CREATE TABLE u AS SELECT 1");
    psql(&cluster, "CHECKPOINT");
    psql(&cluster, "CHECKPOINT");
    ended(5);
    let report = profile.stop();
    let logged = logged_checkpoints(&cluster, from);
    let wal = &report.storage.wal;
    assert_as_logged(&wal.checkpoints, &logged);
    let causes: Vec<&str> = wal.checkpoints.iter().map(|one| one.cause.as_str()).collect();
    assert!(["time", "wal", "requested"].iter().all(|cause| causes.contains(cause)), "{causes:?}");
    // The files of the server's log are those of the kernel's calls; the longest has the directory of the SLRU in 15.
    for one in wal.checkpoints.iter().filter(|one| one.files > 0) {
        let slowest = one.slowest_files.first().expect("a file").sync_ns;
        assert!(slowest.abs_diff(one.longest_sync_ns) < 2_000_000, "{one:#?}");
    }
    let settings = wal.settings.as_ref().expect("settings");
    assert_eq!((settings.max_wal_size_bytes, settings.checkpoint_timeout_ns), (64 << 20, 30_000_000_000));
    assert_eq!((settings.segment_bytes, settings.full_page_writes), (16 << 20, true));
    assert_nothing_lost(&report);
}

/// Records, images, bytes, LSN (as a number).
fn server_wal(cluster: &Cluster) -> [u64; 4] {
    let sql = "SELECT wal_records, wal_fpi, wal_bytes, pg_current_wal_insert_lsn() - '0/0' FROM pg_stat_wal";
    let row = psql(cluster, sql);
    let numbers: Vec<u64> = row.split('|').map(|number| number.parse().expect("a number")).collect();
    numbers.try_into().expect("four numbers")
}

/// A load of many short connections as well, of which each is gone before it is looked at.
#[test]
fn bytes_as_the_server_counts_them() {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    psql(&cluster, "VACUUM");
    psql(&cluster, "CHECKPOINT");
    server_wal(&cluster);
    let before = server_wal(&cluster);
    let profile = Profile::start(&cluster, &[]);
    const EACH: u64 = 400;
    let run = |args: &[&str]| {
        let mut pgbench = cluster.client("pgbench");
        let output = pgbench.args(["-n", "-c", "2", "-t", &EACH.to_string()]).args(args).output().expect("pgbench");
        assert!(output.status.success(), "{output:?}");
    };
    run(&[]);
    run(&["-C"]);
    // The statistics of a process are sent at its end; the background ones send theirs now and then.
    std::thread::sleep(Duration::from_millis(1200));
    let after = server_wal(&cluster);
    let report = profile.stop();
    let [records, images, bytes, lsn] = std::array::from_fn(|i| after[i] - before[i]);
    let written = report.storage.wal.written.as_ref().expect("WAL");
    println!("{written:?}; the server: {records} records, {images} images, {bytes} bytes, {lsn} of LSN");
    assert_eq!((written.records, written.full_page_images, written.bytes), (records, images, bytes));
    assert!(written.bytes <= lsn && lsn <= written.bytes + 8 * written.records + written.bytes / 100, "{lsn}");
    assert_eq!(report.storage.wal.transactions, Some(4 * EACH));
    let of_roles: u64 = report.storage.wal.by_role.iter().map(|by| by.written.bytes).sum();
    let of_steps: u64 = report.storage.wal.series.iter().map(|step| step.written.bytes).sum();
    assert_eq!((of_roles, of_steps), (bytes, bytes));
    assert_nothing_lost(&report);
}

fn start(mut command: Command) -> std::process::Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the load")
}

/// A tiny `max_wal_size`, on a disk that writes so many bytes a second.
#[test]
fn a_storm_of_checkpoints() {
    let cluster = quiet_with(&["max_wal_size = 32MB", "min_wal_size = 32MB", "log_checkpoints = on"]);
    let wal = match SlowWal::move_wal(cluster) {
        Ok(wal) => wal,
        Err(reason) => skip!("no slow disk can be made here: {reason}"),
    };
    let cluster = &wal.cluster;
    cluster.pgbench_init(10).expect("pgbench -i");
    psql(cluster, "CHECKPOINT");
    let from = log_length(cluster);
    let profile = Profile::start(cluster, &[]);
    wal.limit_bytes(16 << 20);
    let rows: Vec<String> = (1..=5).map(|n| format!("\\set a{n} random(1, 1000000)\n")).collect();
    let update = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid IN (:a1, :a2, :a3, :a4, :a5);\n";
    std::fs::write(cluster.dir.join("update.sql"), rows.concat() + update).expect("a script");
    let mut pgbench = cluster.client("pgbench");
    pgbench.args(["-n", "-f", "update.sql", "-c", "8", "-j", "1", "-T", "8"]);
    assert!(start(pgbench).wait().expect("pgbench").success());
    let report = profile.stop();
    wal.limit_bytes(1 << 30);

    let logged = logged_checkpoints(cluster, from);
    let by_wal = logged.iter().filter(|one| one.flags.contains("wal")).count();
    assert!(by_wal >= 3, "no storm: {logged:#?}");
    let seen: Vec<Checkpoint> = report.storage.wal.checkpoints.clone();
    let ended = seen.iter().filter(|one| !one.running).count();
    assert_as_logged(&seen, &logged[..ended.min(logged.len())]);
    assert_nothing_lost(&report);
    let found = assert_first(&report, "checkpoint_storm");
    assert!(found.advice.contains("Raise max_wal_size to"), "{found:?}");
    let written = report.storage.wal.written.as_ref().expect("WAL");
    assert!(written.full_page_bytes_at_most > written.bytes / 2, "{written:?}");
}

/// The first change of each page after a checkpoint takes the whole page into the WAL; the second does not.
#[test]
fn a_burst_of_full_pages() {
    let wal = match SlowWal::move_wal(quiet_with(&["shared_buffers = 256MB"])) {
        Ok(wal) => wal,
        Err(reason) => skip!("no slow disk can be made here: {reason}"),
    };
    let cluster = &wal.cluster;
    // Four rows a page, with room for a new version of one.
    psql(cluster, "CREATE TABLE t (i int, a int, filler text) WITH (fillfactor = 70, autovacuum_enabled = off)");
    psql(cluster, "INSERT INTO t SELECT i, 0, repeat('x', 1300) FROM generate_series(1, 16000) i");
    psql(cluster, "CREATE INDEX ON t (i)");
    psql(cluster, "VACUUM ANALYZE t");
    std::fs::write(
        cluster.dir.join("touch.sql"),
        "\\set from random(1, 15800)\nUPDATE t SET a = a + 1 WHERE i BETWEEN :from AND :from + 200 AND i % 4 = 0;\n",
    )
    .expect("a script");
    psql(cluster, "CHECKPOINT");
    let profile = Profile::start(cluster, &[]);
    wal.limit_bytes(6 << 20);
    let mut pgbench = cluster.client("pgbench");
    pgbench.args(["-n", "-f", "touch.sql", "-c", "4", "-j", "1", "-T", "4"]);
    let output = pgbench.output().expect("pgbench");
    assert!(output.status.success(), "{output:?}");
    let report = profile.stop();
    wal.limit_bytes(1 << 30);
    assert_nothing_lost(&report);
    let found = assert_first(&report, "full_page_writes");
    println!("{found:#?}");
}

/// A table on the disk of the WAL: while a checkpoint syncs it, commits wait behind it.
#[test]
fn a_checkpoint_that_hurts() {
    let wal = match SlowWal::move_wal(quiet_with(&["log_checkpoints = on", "checkpoint_flush_after = 0"])) {
        Ok(wal) => wal,
        Err(reason) => skip!("no slow disk can be made here: {reason}"),
    };
    let cluster = &wal.cluster;
    let space = wal.directory("space");
    psql(cluster, &format!("CREATE TABLESPACE slow LOCATION '{}'", space.display()));
    psql(cluster, "CREATE TABLE big (i int, filler text) TABLESPACE slow");
    psql(cluster, "CREATE TABLE t (a int)");
    psql(cluster, "CHECKPOINT");
    psql(cluster, "INSERT INTO big SELECT i, repeat('x', 1000) FROM generate_series(1, 36000) i");
    std::fs::write(cluster.dir.join("insert.sql"), "INSERT INTO t VALUES (1);\n\\sleep 5 ms\n").expect("a script");
    let from = log_length(cluster);
    let profile = Profile::start(cluster, &[]);
    wal.limit_bytes(10 << 20);
    let mut pgbench = cluster.client("pgbench");
    pgbench.args(["-n", "-f", "insert.sql", "-c", "4", "-j", "1", "-T", "9"]);
    let mut load = start(pgbench);
    std::thread::sleep(Duration::from_secs(2));
    psql(cluster, "CHECKPOINT");
    assert!(load.wait().expect("pgbench").success());
    let report = profile.stop();
    wal.limit_bytes(1 << 30);

    assert_as_logged(&report.storage.wal.checkpoints, &logged_checkpoints(cluster, from));
    let overlay = report.storage.wal.overlay.as_ref().expect("statements during the checkpoint");
    println!(
        "{} during, mean {:.2} ms; {} outside, mean {:.2} ms",
        overlay.during.count,
        overlay.during.mean / 1e6,
        overlay.outside.count,
        overlay.outside.mean / 1e6
    );
    assert_eq!(overlay.during.count + overlay.outside.count, report.statements.count);
    let slowest = &report.storage.wal.checkpoints[0].slowest_files[0];
    assert!(slowest.file.contains("pg_tblspc") || slowest.file.contains("PG_1"), "{slowest:?}");
    assert_nothing_lost(&report);
    let found = assert_first(&report, "checkpoint_hurts");
    assert!(found.evidence.iter().any(|line| line.contains("INSERT INTO t VALUES")), "{found:#?}");
}

/// Every way to make WAL durable, as the server counts its own calls.
#[test]
fn each_way_to_sync() {
    const COMMITS: u64 = 30;
    let cluster = quiet_cluster();
    psql(&cluster, "CREATE TABLE t (a int)");
    for (method, call, counter) in [
        ("fdatasync", "fdatasync", "wal_sync"),
        ("fsync", "fsync", "wal_sync"),
        // The write itself is the sync.
        ("open_datasync", "write", "wal_write"),
        ("open_sync", "write", "wal_write"),
    ] {
        psql(&cluster, &format!("ALTER SYSTEM SET wal_sync_method = {method}"));
        psql(&cluster, "SELECT pg_reload_conf()");
        psql(&cluster, "SELECT pg_switch_wal()");
        wait_until("the setting holds", || psql(&cluster, "SHOW wal_sync_method") == method);
        // Whoever makes the new segment syncs it too.
        psql(&cluster, "INSERT INTO t VALUES (0)");
        std::thread::sleep(Duration::from_millis(1200));
        let counted =
            || psql(&cluster, &format!("SELECT {counter} FROM pg_stat_wal")).parse::<u64>().expect("a number");
        let before = counted();
        let profile = Profile::start(&cluster, &[]);
        Pgbench::new(&cluster, 1, COMMITS).script("INSERT INTO t VALUES (1);\n").run();
        std::thread::sleep(Duration::from_millis(1200));
        let expected = counted() - before;
        let report = profile.stop();
        let wal = &report.storage.wal;
        println!("{method}: {:?}, the server: {expected}", wal.syncs);
        assert_eq!(wal.syncs.get(call), Some(&expected), "{method}: {:?}", wal.syncs);
        assert!(expected >= COMMITS, "{method}");
        assert_eq!(wal.transactions, Some(COMMITS), "{method}");
        assert_nothing_lost(&report);
    }
}

/// A standby makes restartpoints, where its primary made checkpoints.
#[test]
fn restartpoints() {
    let pair = Pair::synchronous();
    let (primary, standby) = (&pair.primary, &pair.standby);
    psql(primary, "CREATE TABLE t AS SELECT i, repeat('x', 500) FROM generate_series(1, 4000) i");
    let from = log_length(standby);
    let profile = Profile::start(standby, &[]);
    for _ in 0..2 {
        psql(primary, "INSERT INTO t SELECT i, repeat('y', 500) FROM generate_series(1, 4000) i");
        psql(primary, "CHECKPOINT");
        let at = psql(primary, "SELECT pg_current_wal_flush_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{at}'");
        wait_until("all is replayed", || psql(standby, &replayed) == "t");
        psql(standby, "CHECKPOINT");
        // Far enough apart to read pg_control in between.
        std::thread::sleep(Duration::from_millis(400));
    }
    let report = profile.stop();
    let logged = logged_checkpoints(standby, from);
    assert_eq!(logged.len(), 2, "{logged:#?}");
    assert_as_logged(&report.storage.wal.checkpoints, &logged);
    assert!(report.storage.wal.checkpoints.iter().all(|one| one.restartpoint));
    assert_nothing_lost(&report);
}
