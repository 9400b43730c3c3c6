//! Planted causes that only the kernel's stack tells, against the stacks that bpftrace sees.

use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

use pgstrobe_tests::*;

/// By how much a sleep may look shorter than it is: what the scheduler's clock and the moments at which switches are seen
/// may shift (`SWITCH` in the eBPF side's `ledger.rs`).
const SWITCH: Duration = Duration::from_micros(200);

/// What a cause took of the statements' time.
fn caused(report: &Report, cause: &str) -> Duration {
    let parts = report.statements.ledger.parts.iter().filter(|part| part.cause.as_deref() == Some(cause));
    Duration::from_nanos(parts.map(|part| part.ns).sum())
}

/// A backend, and the system call in which it waits for its client.
struct Idle {
    pid: u32,
    call: Option<String>,
}

/// Asks a statement while the witness looks at the backend's sleeps; the report, and what it has of the cause, which is what
/// the witness has of the functions.
fn asked(
    cluster: &Cluster,
    sql: &str,
    cause: &str,
    functions: &[&str],
    meanwhile: impl FnOnce(&Idle) + Send,
) -> (Report, Duration) {
    let mut client = Client::connect(cluster, "planted");
    let pid = client.backend(cluster);
    wait_until("the backend waits for its client", || sleeps_in(pid).is_some());
    let idle = Idle { pid, call: sleeps_in(pid) };
    let profile = Profile::start(cluster, &[]);
    let witness = BpftraceStacks::start(pid);
    std::thread::scope(|scope| {
        scope.spawn(|| meanwhile(&idle));
        client.ask(sql);
    });
    wait_until("the backend waits for its client again", || sleeps_in(pid) == idle.call);
    let Slept { inside: witnessed, all, doubt } = witness.stop(functions);
    let report = profile.stop();
    let seen = caused(&report, cause);
    println!("{cause}: {seen:?}, by bpftrace {witnessed:?} of {all:?} (± {doubt:?})");
    assert!(seen.abs_diff(witnessed) < Duration::from_millis(1) + witnessed / 100 + doubt);
    assert_nothing_lost(&report);
    (report, seen)
}

/// Waits until a backend sleeps elsewhere than where it waits for its client, and does not wake, and then for a second more;
/// since when it was seen so.
fn while_stuck(backend: &Idle) -> Instant {
    wait_until("the backend is stuck", || {
        let (call, left) = (sleeps_in(backend.pid), switches(backend.pid));
        std::thread::sleep(Duration::from_millis(50));
        call.is_some() && call != backend.call && (sleeps_in(backend.pid), switches(backend.pid)) == (call, left)
    });
    let stuck = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    stuck
}

/// A copy into a table whose file system has a small journal on a slow disk.
#[test]
fn a_full_journal() {
    let disk = match SlowDisk::journaled() {
        Ok(disk) => disk,
        Err(reason) => skip!("{reason}"),
    };
    let cluster = quiet_with(&["shared_buffers = 16MB", "wal_level = minimal", "max_wal_senders = 0"]);
    disk.tablespace(&cluster);
    psql(&cluster, "CREATE UNLOGGED TABLE t (a int, b text) TABLESPACE slow");
    let file = cluster.data.join("t.copy").display().to_string();
    psql(&cluster, &format!("COPY (SELECT i, repeat('x', 200) FROM generate_series(1, 40000) i) TO '{file}'"));
    disk.sync();
    disk.limit_pace(12 << 20);
    const FUNCTIONS: &[&str] = &["start_this_handle", "add_transaction_credits", "wait_transaction_locked"];
    let sql = format!("COPY t FROM '{file}'");
    let (report, seen) = asked(&cluster, &sql, "journal", FUNCTIONS, |_| ());
    assert!(seen > Duration::from_millis(500));
    assert_first(&report, "journal");
}

/// A table is read while the device's queue is closed: for another scheduler, which waits for a write that is in the device.
#[test]
fn a_closed_queue() {
    let below = LoopDisk::new(256, "none").and_then(|mut disk| disk.mount().map(|dir| (disk, dir)));
    let upper = below.and_then(|(below, dir)| Ok((LoopDisk::over(&dir, 96, "mq-deadline")?, below)));
    let (mut disk, below) = match upper {
        Ok(disks) => disks,
        Err(reason) => skip!("no disk on a disk: {reason}"),
    };
    let dir = match disk.mount() {
        Ok(dir) => dir,
        Err(reason) => skip!("{reason}"),
    };
    let cluster = quiet_with(&["shared_buffers = 1MB"]);
    let (uid, gid) = unprivileged_user().expect("the server's user");
    let space = dir.join("space");
    std::fs::create_dir(&space)
        .and_then(|()| std::os::unix::fs::chown(&space, Some(uid), Some(gid)))
        .expect("a directory");
    psql(&cluster, &format!("CREATE TABLESPACE upper LOCATION '{}'", space.display()));
    psql(&cluster, "CREATE TABLE t TABLESPACE upper AS SELECT i, repeat('x', 200) FROM generate_series(1, 40000) i");
    psql(&cluster, "VACUUM t");
    psql(&cluster, "CHECKPOINT");
    std::fs::write("/proc/sys/vm/drop_caches", "1").expect("drop_caches");
    let half = 48 << 20;
    let frozen = below.freeze().expect("the file system below");
    let (disk, file) = (&disk, disk.open());
    std::thread::scope(|scope| {
        // Reaches the device and stays there.
        scope.spawn(move || file.write_all_at(Aligned::new(4096).bytes(), half).expect("a write"));
        std::thread::sleep(Duration::from_millis(200));
        scope.spawn(|| disk.schedule("none").expect("the scheduler"));
        std::thread::sleep(Duration::from_millis(200));
        let mut least = Duration::ZERO;
        let thaw = |backend: &Idle| {
            let stuck = while_stuck(backend);
            least = stuck.elapsed();
            drop(frozen);
        };
        const FUNCTIONS: &[&str] = &["__bio_queue_enter", "blk_queue_enter"];
        let (report, seen) = asked(&cluster, "SELECT count(*) FROM t", "block_queue", FUNCTIONS, thaw);
        assert!(seen + SWITCH >= least, "{seen:?} of at least {least:?}");
        assert_first(&report, "block_queue");
    });
}

/// A table grows on a file system that is frozen, as for a snapshot.
#[test]
fn a_frozen_file_system() {
    let disk = match SlowDisk::mount(false) {
        Ok(disk) => disk,
        Err(reason) => skip!("{reason}"),
    };
    let cluster = quiet_cluster();
    disk.tablespace(&cluster);
    psql(&cluster, "CREATE UNLOGGED TABLE t (a int) TABLESPACE slow");
    let frozen = disk.freeze();
    let mut least = Duration::ZERO;
    let thaw = |backend: &Idle| {
        let stuck = while_stuck(backend);
        least = stuck.elapsed();
        drop(frozen);
    };
    const FUNCTIONS: &[&str] = &["percpu_rwsem_wait", "__percpu_down_read"];
    let (report, seen) = asked(&cluster, "INSERT INTO t VALUES (1)", "filesystem_frozen", FUNCTIONS, thaw);
    assert!(seen + SWITCH >= least, "{seen:?} of at least {least:?}");
    assert_first(&report, "filesystem_frozen");
}

/// The file system is frozen already when the profile begins, and a backend stands still in it: it sleeps on, and the kernel's own print
/// of its stack is all that says why.
#[test]
fn found_on_a_frozen_file_system() {
    let disk = match SlowDisk::mount(false) {
        Ok(disk) => disk,
        Err(reason) => skip!("{reason}"),
    };
    let cluster = quiet_cluster();
    disk.tablespace(&cluster);
    psql(&cluster, "CREATE UNLOGGED TABLE t (a int) TABLESPACE slow");
    let mut client = Client::connect(&cluster, "planted");
    let pid = client.backend(&cluster);
    wait_until("the backend waits for its client", || sleeps_in(pid).is_some());
    let idle = Idle { pid, call: sleeps_in(pid) };
    let frozen = disk.freeze();
    client.send("INSERT INTO t VALUES (1)");
    while_stuck(&idle);
    let profile = Profile::start(&cluster, &[]);
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let least = begun.elapsed();
    drop(frozen);
    client.answer();
    let report = profile.stop();
    let seen = caused(&report, "filesystem_frozen");
    println!("filesystem_frozen: {seen:?} of at least {least:?}");
    assert!(seen + SWITCH >= least, "{seen:?} of at least {least:?}: {:?}", report.statements.ledger);
    assert_first(&report, "filesystem_frozen");
}

/// A table lies on a file system that a process serves, and that process stands still: pgstrobe does not wait for it.
#[test]
fn a_file_system_in_user_space() {
    if !installed("bindfs") {
        skip!("bindfs is not installed");
    }
    let fuse = match Fuse::mount() {
        Ok(fuse) => fuse,
        Err(reason) => skip!("{reason}"),
    };
    let cluster = quiet_with(&["shared_buffers = 1MB"]);
    psql(&cluster, &format!("CREATE TABLESPACE served LOCATION '{}'", fuse.space().display()));
    psql(&cluster, "CREATE TABLE t TABLESPACE served AS SELECT i FROM generate_series(1, 100) i");
    let server = Stopped::stop(&[fuse.pid()]);
    let mut least = Duration::ZERO;
    let go_on = |backend: &Idle| {
        let stuck = while_stuck(backend);
        least = stuck.elapsed();
        drop(server);
    };
    // It opens the table's file.
    let sql = "SELECT count(*) FROM t";
    let (report, seen) = asked(&cluster, sql, "network_filesystem", &["request_wait_answer"], go_on);
    assert!(seen + SWITCH >= least, "{seen:?} of at least {least:?}");
    let silent = report.coverage.notes.iter().filter(|note| note.contains("of the tablespace with the OID"));
    assert_eq!(silent.count(), 1, "{:?}", report.coverage.notes);
    assert_first(&report, "network_filesystem");
}

/// The file system does not answer while the report is made either: which disks the server lies on is asked of the others.
#[test]
fn a_file_system_that_stays_silent() {
    if !installed("bindfs") {
        skip!("bindfs is not installed");
    }
    let fuse = match Fuse::mount() {
        Ok(fuse) => fuse,
        Err(reason) => skip!("{reason}"),
    };
    let cluster = quiet_cluster();
    psql(&cluster, &format!("CREATE TABLESPACE served LOCATION '{}'", fuse.space().display()));
    let profile = Profile::start(&cluster, &[]);
    let server = Stopped::stop(&[fuse.pid()]);
    // Written back with what else is dirty, on the disk of the data directory.
    psql(&cluster, "CREATE UNLOGGED TABLE t AS SELECT i, repeat('x', 500) FROM generate_series(1, 10000) i");
    let synced = Command::new("sync").arg("--file-system").arg(&cluster.data).status().expect("sync");
    assert!(synced.success());
    let asked = Instant::now();
    let report = profile.stop();
    let took = asked.elapsed();
    drop(server);
    assert!(took < Duration::from_secs(10), "the report took {took:?}");
    let silent = report.coverage.notes.iter().filter(|note| note.contains("of the tablespace with the OID"));
    assert_eq!(silent.count(), 1, "{:?}", report.coverage.notes);
    let by = &report.storage.writeback.by;
    assert!(by.iter().any(|by| by.holds.iter().any(|what| what == "data")), "{by:#?}");
}
