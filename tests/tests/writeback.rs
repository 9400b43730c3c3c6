//! Writeback and the waits for it, against bpftrace, the device's statistics and /proc/vmstat.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use pgstrobe_tests::*;

/// What the disk takes each second at the most, and what may be dirty for it.
const PACE: u64 = 24 << 20;
const DIRTY: u64 = 16 << 20;

/// A table on such a disk, and a file of 60 MB to fill it with.
fn prepared(stable: bool, settings: &[&str]) -> Result<(Cluster, SlowDisk), String> {
    if !installed("bpftrace") {
        return Err("bpftrace is not installed".into());
    }
    let disk = SlowDisk::mount(stable)?;
    // What is written is written by the backend itself.
    let cluster =
        quiet_with(&[&["shared_buffers = 16MB", "wal_level = minimal", "max_wal_senders = 0"], settings].concat());
    disk.tablespace(&cluster);
    psql(&cluster, "CREATE UNLOGGED TABLE t (a int, b text) TABLESPACE slow");
    Ok((cluster, disk))
}

/// The same, with little that may be dirty and a file to fill the table with.
fn prepared_to_copy() -> Result<(Cluster, SlowDisk, String), String> {
    let (cluster, disk) = prepared(false, &[])?;
    let file = copy_file(&cluster);
    disk.limit_dirty(DIRTY)?;
    Ok((cluster, disk, file))
}

fn copy_file(cluster: &Cluster) -> String {
    let file = cluster.data.join("t.copy").display().to_string();
    psql(cluster, &format!("COPY (SELECT i, repeat('x', 200) FROM generate_series(1, 250000) i) TO '{file}'"));
    file
}

/// What the disk may take each second so that the writer, as fast as it is on this machine now, must wait for it.
fn pace(cluster: &Cluster, file: &str) -> u64 {
    psql(cluster, "CREATE UNLOGGED TABLE unhindered (a int, b text)");
    let begun = Instant::now();
    psql(cluster, &format!("COPY unhindered FROM '{file}'"));
    let bytes = fs::metadata(file).expect("the file to copy").len();
    let each_second = bytes * 1000 / (begun.elapsed().as_millis() as u64).max(1);
    println!("the writer writes {each_second} bytes a second");
    PACE.min(each_second / 3)
}

/// What all devices of the host say they wrote, in bytes.
fn written_by_devices() -> u64 {
    let devices = fs::read_dir("/sys/block").expect("/sys/block").flatten();
    devices.map(|device| sectors_written(&device.file_name().to_string_lossy()) * 512).sum()
}

fn page() -> u64 {
    // SAFETY: a plain library call.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("the size of a page")
}

/// Names of the reasons as the kernel numbers them (include/linux/backing-dev-defs.h; the same from 5.10 to 7.x).
const REASONS: [&str; 8] =
    ["background", "vmscan", "sync", "periodic", "laptop_timer", "fs_free_space", "forker_thread", "foreign_flush"];

#[test]
fn pages_by_reason_as_bpftrace() {
    let (cluster, disk, file) = match prepared_to_copy() {
        Ok(prepared) => prepared,
        Err(reason) => skip!("{reason}"),
    };
    disk.sync();
    let witness = BpftraceFlusher::start();
    // SAFETY: a plain system call.
    unsafe { libc::sync() };
    let outer = written_by_devices();
    let profile = Profile::start(&cluster, &[]);
    let inner = written_by_devices();
    let sectors = disk.sectors_written();
    psql(&cluster, &format!("COPY t FROM '{file}'"));
    disk.sync();
    let sectors = disk.sectors_written() - sectors;
    let inner = written_by_devices() - inner;
    let report = profile.stop();
    // SAFETY: a plain system call.
    unsafe { libc::sync() };
    let outer = written_by_devices() - outer;
    let expected = witness.stop();

    let writeback = &report.storage.writeback;
    let mut seen = BTreeMap::<(String, u32), u64>::new();
    for by in writeback.by.iter().filter(|by| by.device == disk.number) {
        let reason = REASONS.iter().position(|name| *name == by.reason).expect("a known reason");
        *seen.entry((by.device.clone(), reason as u32)).or_default() += by.pages;
        assert_eq!(by.bytes, by.pages * page());
        assert_eq!(by.device_name.as_deref(), Some(disk.name.as_str()));
        assert_eq!(by.holds, ["tablespace"]);
    }
    let expected: BTreeMap<_, _> = expected.into_iter().filter(|((device, _), _)| *device == disk.number).collect();
    println!("bpftrace: {expected:?}, {sectors} sectors written to the device");
    assert_eq!(seen, expected);
    assert!(expected.len() >= 2, "one reason alone");
    // The device got what the flusher sent it; beside that only what `sync` itself writes of the file system's own blocks.
    let flushed: u64 = seen.values().sum();
    assert!(flushed > 50 << 8, "{flushed} pages");
    let rest = sectors.checked_sub(flushed * page() / 512).expect("the device has all of it");
    println!("{flushed} pages by the flusher, {rest} sectors beside them");
    assert!(rest < 2048, "{rest} sectors more than the flusher wrote");
    let written = writeback.written_bytes;
    println!("{written} bytes to all devices, which say {inner} to {outer}");
    assert!(inner <= written && written <= outer, "{written} bytes, the devices say {inner} to {outer}");
    let slices: u64 = writeback.timeline.iter().map(|slice| slice.written_bytes).sum();
    assert_eq!(slices, writeback.written_bytes, "the timeline holds all of it");
    let in_slices: u64 = writeback.timeline.iter().flat_map(|slice| slice.flushed_bytes.values()).sum();
    assert_eq!(in_slices, writeback.flushed_bytes(None));
    assert_nothing_lost(&report);
}

#[test]
fn pauses_of_a_writer() {
    let (cluster, disk, file) = match prepared_to_copy() {
        Ok(prepared) => prepared,
        Err(reason) => skip!("{reason}"),
    };
    let pace = pace(&cluster, &file);
    let witness = BpftraceSleeps::pauses();
    let stolen = stolen_ns();
    let profile = Profile::start(&cluster, &[]);
    disk.limit_pace(pace);
    psql(&cluster, &format!("COPY t FROM '{file}'"));
    let report = profile.stop();
    let stolen = stolen_ns() - stolen;
    let (sleeps, facts) = witness.stop();

    let pauses = &report.storage.writeback.pauses;
    let [by] = &pauses.by[..] else { panic!("{:?}", pauses.by) };
    let [pid] = by.pids[..] else { panic!("{:?}", by.pids) };
    let expected = &sleeps[&pid];
    assert!(expected.len() > 10, "too few pauses: {}", expected.len());
    assert_sleeps(expected, by.latency.count, by.total_ns, stolen);
    assert_median(expected, &by.latency);
    assert_eq!(by.query.as_deref(), Some("COPY t FROM $1"));
    // The ledger has the same sleeps, but for those for which it had no part left.
    let parts = report.statements.ledger.parts.iter().filter(|part| part.cause.as_deref() == Some("dirty_throttle"));
    let in_ledger: u64 = parts.map(|part| part.ns).sum();
    println!("{in_ledger} ns in the ledger");
    assert!(by.total_ns.abs_diff(in_ledger) < by.total_ns / 20, "{} ns, in the ledger {in_ledger} ns", by.total_ns);
    // What the kernel went by.
    for pause in &pauses.longest {
        assert_eq!(pause.device, disk.number);
        let fact = (pid, pause.dirty_bytes / page(), pause.device_dirty_bytes / page());
        assert!(facts.contains(&fact), "{pause:?}");
        let limit = pause.limit_bytes * disk.dirty_millionths() / 1_000_000;
        assert!(pause.device_limit_bytes.abs_diff(limit) < limit / 16, "{limit} bytes by the kernel: {pause:?}");
    }
    let in_slices: u64 = report.storage.writeback.timeline.iter().map(|slice| slice.pauses).sum();
    assert_eq!(in_slices, by.latency.count, "the timeline holds all of them");
    assert_nothing_lost(&report);
    let first = assert_first(&report, "dirty_throttle");
    let said = first.evidence.join("\n") + &first.advice;
    for needed in ["vm.dirty_background_", "backend_flush_after", &format!("/sys/class/bdi/{}", disk.number)] {
        assert!(said.contains(needed), "{needed} is not named: {first:#?}");
    }
}

/// Settings as the kernel and the server show them.
#[test]
fn settings_as_the_server_shows_them() {
    let cluster =
        quiet_with(&["backend_flush_after = 128kB", "bgwriter_flush_after = 0", "checkpoint_flush_after = 1MB"]);
    let profile = Profile::start(&cluster, &[]);
    psql(&cluster, "SELECT 1");
    let report = profile.stop();
    let settings = &report.storage.writeback.settings;
    assert_eq!(settings.backend_flush_after_bytes, Some(128 << 10));
    assert_eq!(settings.bgwriter_flush_after_bytes, Some(0));
    assert_eq!(settings.checkpoint_flush_after_bytes, Some(1 << 20));
    let value = |name: &str| -> u64 {
        let text = fs::read_to_string(format!("/proc/sys/vm/{name}")).expect("a setting of the kernel");
        text.trim().parse().expect("a number")
    };
    assert_eq!(settings.dirty_bytes, value("dirty_bytes"));
    assert_eq!(settings.dirty_ratio, value("dirty_ratio"));
    assert_eq!(settings.dirty_background_bytes, value("dirty_background_bytes"));
    assert_eq!(settings.dirty_background_ratio, value("dirty_background_ratio"));
    assert_eq!(settings.dirty_expire_ns, value("dirty_expire_centisecs") * 10_000_000);
    assert!(settings.background_limit_bytes > 0 && settings.background_limit_bytes < settings.limit_bytes);
}

#[test]
fn pages_that_must_not_change() {
    let (cluster, disk) = match prepared(true, &["backend_flush_after = 8kB", "autovacuum = off"]) {
        Ok(prepared) => prepared,
        Err(reason) => skip!("{reason}"),
    };
    // Twice of what the server keeps: each change drives another changed page out.
    psql(&cluster, "INSERT INTO t SELECT i, repeat('x', 900) FROM generate_series(1, 32000) i");
    psql(&cluster, "CREATE INDEX ON t (a)");
    disk.sync();
    let witness = BpftraceSleeps::page_waits();
    let stolen = stolen_ns();
    let profile = Profile::start(&cluster, &[]);
    disk.limit_pace(4 << 20);
    let script = "\\set a random(1, 32000)\nUPDATE t SET b = b WHERE a = :a;\n";
    fs::write(cluster.dir.join("update.sql"), script).expect("a script");
    let mut pgbench = cluster.client("pgbench");
    let output = pgbench.args(["-n", "-f", "update.sql", "-c", "4", "-T", "5"]).output().expect("pgbench");
    assert!(output.status.success(), "{output:?}");
    let report = profile.stop();
    let stolen = stolen_ns() - stolen;
    let (sleeps, _) = witness.stop();

    let waits = |ledger: &Ledger| -> (u64, u64) {
        let parts = ledger.parts.iter().filter(|part| part.cause.as_deref() == Some("writeback_wait"));
        parts.fold((0, 0), |sum, part| (sum.0 + part.count, sum.1 + part.ns))
    };
    let mut pids = Vec::new();
    for backend in report.backends.iter().filter(|backend| backend.role == "client backend") {
        let (inside, outside) = (waits(&backend.ledger), waits(&backend.outside));
        let (count, ns) = (inside.0 + outside.0, inside.1 + outside.1);
        let expected = sleeps.get(&backend.pid).map_or(&[][..], |sleeps| sleeps);
        assert_sleeps(expected, count, ns, stolen);
        pids.extend((count > 0).then_some(backend.pid));
    }
    assert!(!pids.is_empty(), "nobody waited for a page");
    assert!(report.unfinished.is_empty(), "{:?}", report.unfinished);
    assert_nothing_lost(&report);
    let first = assert_first(&report, "stable_pages");
    assert!(first.advice.contains("backend_flush_after"), "{first:#?}");
}
