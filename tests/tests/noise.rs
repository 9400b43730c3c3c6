//! Who keeps the cluster's requests waiting: a neighbour is named, the delay rises with its load, and without one there is
//! next to none.

use pgstrobe_tests::*;

/// A profile of commits on the disk, with so many neighbours that pause so long.
fn profile(wal: &WalDisk, group: Option<&Cgroup>, neighbours: usize, pause_ms: u32) -> Report {
    let cluster = &wal.cluster;
    let profile = Profile::start(cluster, &[]);
    let readers = Neighbours::start(neighbours, pause_ms, &wal.disk, &cluster.dir, group);
    let idle = wal.disk.stat().reads;
    wait_until("the neighbours read", || neighbours == 0 || wal.disk.stat().reads > idle + 20 * neighbours as u64);
    std::fs::write(cluster.dir.join("insert.sql"), "INSERT INTO t VALUES (1);\n").expect("a script");
    let output = cluster.client("pgbench").args(["-n", "-f", "insert.sql", "-c", "1", "-T", "2"]).output();
    assert!(output.expect("pgbench").status.success());
    drop(readers);
    profile.stop()
}

/// How long requests of the cluster waited on the disk, and how long of that for other processes, in nanoseconds.
fn waits(report: &Report, wal: &WalDisk) -> (u64, u64) {
    let device = report.storage.block.devices.iter().find(|device| device.device == wal.disk.name);
    let device = device.expect("the disk of the log");
    let others = noise(report, wal).iter().filter(|one| one.owner.kind == "process").map(|one| delay(one)).sum::<f64>();
    (device.waited_own_ns + device.waited_others_ns, others as u64)
}

fn noise<'a>(report: &'a Report, wal: &WalDisk) -> Vec<&'a BlockNoise> {
    report.storage.block.noise.iter().filter(|one| one.device == wal.disk.name).collect()
}

fn delay(one: &BlockNoise) -> f64 {
    one.delay.mean * one.delay.count as f64
}

fn disk(scheduler: &str) -> Result<WalDisk, String> {
    let wal = WalDisk::new(quiet_cluster(), LoopDisk::new(512, scheduler))?;
    psql(&wal.cluster, "CREATE TABLE t (a int)");
    Ok(wal)
}

fn neighbour_is_named(scheduler: &str) {
    let wal = match disk(scheduler) {
        Ok(wal) => wal,
        Err(reason) => skip!("no disk with {scheduler}: {reason}"),
    };
    let group = match Cgroup::new("io") {
        Ok(group) => group,
        Err(reason) => skip!("no cgroup for block devices: {reason}"),
    };
    let alone = profile(&wal, Some(&group), 0, 0);
    let little = profile(&wal, Some(&group), 1, 50);
    let much = profile(&wal, Some(&group), 4, 0);
    let waited = [&alone, &little, &much].map(|report| waits(report, &wal));
    let shares = waited.map(|(all, others)| others as f64 / all as f64);
    println!("{scheduler}: commits waited, and of that for others: {waited:?} ns, {shares:?}");
    assert!(shares[0] < 0.02, "without a neighbour: {waited:?}");
    if scheduler == "bfq" {
        // It serves those first who wait for each of their requests: a neighbour gains nothing by asking for more.
        assert!(shares[1] > shares[0] && shares[2] > shares[0], "{waited:?}");
    } else {
        assert!(shares[0] < shares[1] && 1.5 * shares[1] < shares[2], "{waited:?}");
    }

    let first = noise(&much, &wal)[0];
    assert_eq!((first.owner.name.as_str(), first.owner.cluster), (READER, false), "{first:#?}");
    assert!(first.owner.cgroup.ends_with(&group.name()), "{}", first.owner.cgroup);
    assert!(first.delay.count > 0 && first.delay.count <= first.requests);
    // Stretches do not overlap: together no longer than the profile, on a device with one hardware context.
    let device = much.storage.block.devices.iter().find(|device| device.device == wal.disk.name).expect("the disk");
    assert!(device.waited_own_ns + device.waited_others_ns <= much.duration_ns, "{device:#?}");
    assert_nothing_lost(&much);
}

#[test]
fn named_with_none() {
    neighbour_is_named("none");
}

#[test]
fn named_with_mq_deadline() {
    neighbour_is_named("mq-deadline");
}

#[test]
fn named_with_kyber() {
    neighbour_is_named("kyber");
}

#[test]
fn named_with_bfq() {
    neighbour_is_named("bfq");
}

/// Where both are in one cgroup, the process is named.
#[test]
fn named_in_the_same_cgroup() {
    let wal = match disk("none") {
        Ok(wal) => wal,
        Err(reason) => skip!("no disk: {reason}"),
    };
    let report = profile(&wal, None, 3, 0);
    let noise = noise(&report, &wal);
    assert_eq!(noise[0].owner.name, READER, "{noise:#?}");
    assert!(noise[0].owner.pid.is_some_and(|pid| pid > 0));
}
