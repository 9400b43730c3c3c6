//! Planted causes: a cold page cache, and writes that must read first. What came from the device is what the kernel accounts
//! to the process.

use pgstrobe::report::model::FileIo;
use pgstrobe_tests::*;

fn drop_caches() {
    // SAFETY: no arguments.
    unsafe { libc::sync() };
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("root drops caches");
}

/// Bytes that the kernel accounts to a process as read from a device.
fn read_by(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("root reads it");
    let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).expect("bytes read");
    line.parse().expect("a number")
}

/// Rows by an index in an order that no read-ahead guesses.
const SCATTERED: &str =
    "SELECT sum(length((SELECT filler FROM t WHERE id = i * 7919 % 60000))) FROM generate_series(1, 3000) i";

fn scattered(cluster: &Cluster) -> Client {
    psql(cluster, "CREATE TABLE t (id int PRIMARY KEY, filler text) WITH (autovacuum_enabled = off)");
    psql(cluster, "INSERT INTO t SELECT i, repeat('x', 400) FROM generate_series(1, 60000) i");
    psql(cluster, "VACUUM ANALYZE t");
    psql(cluster, "CHECKPOINT");
    let mut client = Client::connect(cluster, "reader");
    // What the backend needs besides the table is mapped and stays.
    client.ask("SET jit = off");
    client.ask(SCATTERED);
    client
}

#[test]
fn a_cold_cache() {
    let cluster = quiet_with(&["shared_buffers = 2MB", "max_parallel_workers_per_gather = 0"]);
    let mut client = scattered(&cluster);
    let backend = client.backend(&cluster);
    let profile = Profile::start(&cluster, &[]);
    drop_caches();
    let before = read_by(backend);
    client.ask(SCATTERED);
    let read = read_by(backend) - before;
    let report = profile.stop();
    let io = queries(&report, "generate_series")[0].io;
    println!("{read} bytes read, the kernel says; {io:?}");
    assert!(read > 8 << 20, "not cold: {read} bytes");
    assert_eq!(io.relation.device_read_bytes + io.other.device_read_bytes, read);
    assert!(io.relation.device_reads > 1000, "{io:?}");
    assert_nothing_lost(&report);
    assert_first(&report, "cold_cache");

    // A kernel that frees idle memory before it is short of it (DAMON) may take pages away again meanwhile.
    let mut tries = 0;
    let (io, report) = loop {
        let profile = Profile::start(&cluster, &[]);
        warm(&cluster);
        let before = read_by(backend);
        client.ask(SCATTERED);
        let read = read_by(backend) - before;
        let report = profile.stop();
        let io = queries(&report, "generate_series")[0].io;
        assert_eq!(io.relation.device_read_bytes + io.other.device_read_bytes, read);
        tries += 1;
        if read == 0 {
            break (io, report);
        }
        assert!(tries < 4, "never warm: {read} bytes read");
    };
    assert_eq!(io.relation.device_reads, 0, "warm");
    assert!(io.relation.reads > 1000, "{io:?}");
    let cold = ["cold_cache", "block_read"];
    assert!(!report.findings.iter().any(|finding| cold.contains(&finding.id.as_str())), "{:#?}", report.findings);
    assert_nothing_lost(&report);
}

/// Has the page cache hold all of the databases: what is in shared buffers need not have been read since it was dropped.
fn warm(cluster: &Cluster) {
    for directory in std::fs::read_dir(cluster.data.join("base")).expect("base").flatten() {
        for file in std::fs::read_dir(directory.path()).expect("a directory").flatten() {
            std::fs::read(file.path()).expect("root reads it");
        }
    }
}

/// A standby writes WAL as it comes, in pieces of any size, over segments that are there already. Where those are not in
/// the page cache, it must read what it changes in part.
#[test]
fn wal_that_is_read_before_it_is_written() {
    let pair = Pair::synchronous();
    let (primary, standby) = (&pair.primary, &pair.standby);
    psql(primary, "CREATE TABLE t (a int)");
    let profile = Profile::start(standby, &[]);
    let receiver = || {
        standby.pids().into_iter().find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|t| t.contains("walreceiver"))
        })
    };
    let receiver = receiver().expect("a walreceiver");
    let before = read_by(receiver);
    for _ in 0..200 {
        psql(primary, "INSERT INTO t SELECT generate_series(1, 40)");
        drop_page_cache_of_wal(standby);
    }
    let read = read_by(receiver) - before;
    let report = profile.stop();
    let rows = report.storage.files.by.iter().filter(|row| row.file_kind == "wal" && row.role == "walreceiver");
    let mut io = FileIo::default();
    rows.for_each(|row| io.add(&row.io));
    println!("{read} bytes read, the kernel says; {io:?}");
    assert!(io.read_before_writes > 100, "{io:?}");
    assert_eq!(io.read_before_write_bytes, read);
    assert_nothing_lost(&report);
    assert_first(&report, "read_before_write");
}

/// As memory that others need would: `posix_fadvise(POSIX_FADV_DONTNEED)` on every segment, once it is clean.
fn drop_page_cache_of_wal(cluster: &Cluster) {
    use std::os::fd::AsRawFd as _;
    for file in std::fs::read_dir(cluster.data.join("pg_wal")).expect("pg_wal").flatten() {
        let Ok(file) = std::fs::File::open(file.path()) else { continue };
        let _ = file.sync_data();
        // SAFETY: an open descriptor.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
}
