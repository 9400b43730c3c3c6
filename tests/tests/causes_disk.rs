//! Planted causes: commits on a device that is itself slow, and on one that others keep busy.

use std::path::Path;

use pgstrobe_tests::*;

/// A disk of its own for the log, over a file on the disk of this machine, to which its requests go as they are.
fn wal_on_a_file() -> Result<WalDisk, String> {
    let disk = LoopDisk::over(Path::new("/var/tmp"), 512, "none").and_then(|disk| disk.direct().map(|()| disk));
    let wal = WalDisk::new(quiet_cluster(), disk)?;
    psql(&wal.cluster, "CREATE TABLE t (a int)");
    Ok(wal)
}

fn inserts(wal: &WalDisk, count: u64) {
    Pgbench::new(&wal.cluster, 1, count).script("INSERT INTO t VALUES (1);\n").run();
}

/// The loop device passes requests on in the name of whoever made them: a limit on the disk below makes them slow while
/// they are in the loop device.
#[test]
fn a_slow_device() {
    let wal = match wal_on_a_file() {
        Ok(wal) => wal,
        Err(reason) => skip!("no disk over a file: {reason}"),
    };
    let limit = match Cgroup::new("io") {
        Ok(limit) => limit,
        Err(reason) => skip!("no cgroup for block devices: {reason}"),
    };
    let below = match wal.disk.below() {
        Some(below) => below,
        None => skip!("the file of the loop device lies on no block device"),
    };
    limit.add(&wal.cluster.pids());
    let profile = Profile::start(&wal.cluster, &[]);
    limit.limit_writes(&below, 40);
    inserts(&wal, 60);
    let report = profile.stop();
    let device = report.storage.block.devices.iter().find(|device| device.device == wal.disk.name);
    let write = &device.expect("the disk of the log").write;
    // One of 40 a second.
    assert!(write.device_time.mean > 10e6, "{write:#?}");
    let first = assert_first(&report, "slow_device");
    assert!(first.title.contains(&wal.disk.name), "{}", first.title);
    // The disk below is fast, and its requests are made by threads of the kernel: they are tied to the cluster by its cgroup.
    let tied = report.storage.block.by.iter().filter(|row| row.device != wal.disk.name && row.owner.cluster);
    let tied: u64 = tied.filter(|row| row.owner.kind == "kernel worker").map(|row| row.requests.requests).sum();
    assert!(tied >= 60, "{:#?}", report.storage.block.by);
    assert_nothing_lost(&report);
}

#[test]
fn a_noisy_neighbour() {
    let wal = match wal_on_a_file() {
        Ok(wal) => wal,
        Err(reason) => skip!("no disk over a file: {reason}"),
    };
    let group = match Cgroup::new("io") {
        Ok(group) => group,
        Err(reason) => skip!("no cgroup for block devices: {reason}"),
    };
    let profile = Profile::start(&wal.cluster, &[]);
    let neighbours = Neighbours::write(8, &wal.disk, &wal.cluster.dir, Some(&group));
    std::thread::sleep(std::time::Duration::from_millis(500));
    inserts(&wal, 200);
    drop(neighbours);
    let report = profile.stop();
    let first = assert_first(&report, "noisy_neighbour");
    assert!(first.title.contains(WRITER) && first.title.contains(&group.name()), "{}", first.title);
    assert_nothing_lost(&report);
}
