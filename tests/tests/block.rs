//! Requests of block devices are counted as the kernel counts them, and take as long as bpftrace measures.

use pgstrobe_tests::*;

const SCHEDULERS: [&str; 4] = ["none", "mq-deadline", "kyber", "bfq"];

fn disk(mebibytes: u64, scheduler: &str) -> Result<LoopDisk, String> {
    LoopDisk::new(mebibytes, scheduler)
}

fn device<'a>(report: &'a Report, disk: &LoopDisk) -> &'a BlockDevice {
    let found = report.storage.block.devices.iter().find(|device| device.device == disk.name);
    found.unwrap_or_else(|| panic!("{} is not in {:?}", disk.name, report.storage.block.devices))
}

#[test]
fn counts_and_bytes_as_the_kernel() {
    let cluster = quiet_cluster();
    for scheduler in SCHEDULERS {
        let disk = match disk(64, scheduler) {
            Ok(disk) => disk,
            Err(reason) => skip!("no loop device with {scheduler}: {reason}"),
        };
        let profile = Profile::start(&cluster, &[]);
        let before = disk.stat();
        use_disk(&disk, 4, 200);
        let expected = disk.stat().since(before);
        let report = profile.stop();
        let seen = device(&report, &disk);
        let stat = Stat {
            reads: seen.read.requests,
            read_bytes: seen.read.bytes,
            writes: seen.write.requests + seen.sync.requests,
            written_bytes: seen.write.bytes,
            discards: seen.discard.requests,
            discarded_bytes: seen.discard.bytes,
            flushes: seen.flush.requests,
        };
        assert_eq!(stat, expected, "{scheduler}");
        assert_eq!((seen.scheduler.as_str(), seen.number.as_str()), (scheduler, disk.number.as_str()));
        assert!(expected.reads >= 800 && expected.writes >= 800 && expected.flushes > 0, "{expected:?}");
        assert_eq!(seen.sync.requests, 80, "each fdatasync is one");
        let own = report.storage.block.by.iter().filter(|row| row.device == disk.name && row.operation == "read");
        let own: Vec<_> = own.collect();
        assert_eq!(own.len(), 1, "{own:#?}");
        assert_eq!((own[0].owner.pid, own[0].owner.cluster), (Some(std::process::id()), false));
        assert_eq!(own[0].requests.requests, expected.reads);
        assert_nothing_lost(&report);
    }
}

fn near(what: &str, seen: u64, expected: u64) {
    let ratio = seen as f64 / expected as f64;
    println!("{what}: {seen} ns, bpftrace {expected} ns, {ratio:.3}");
    assert!((ratio - 1.0).abs() < 0.07, "{what}: {seen} ns, bpftrace {expected} ns");
}

#[test]
fn latencies_as_bpftrace() {
    if !installed("bpftrace") {
        skip!("bpftrace is not installed");
    }
    let cluster = quiet_cluster();
    // The driver takes 128 requests at a time: the others wait in the scheduler's queue.
    let (threads, each) = (256, 30);
    let disk = match disk((threads * each * CROWD_BLOCK) >> 20, "mq-deadline") {
        Ok(disk) => disk,
        Err(reason) => skip!("no loop device: {reason}"),
    };
    let profile = Profile::start(&cluster, &[]);
    let witness = BpftraceBlocks::start(disk.dev());
    let before = disk.stat();
    crowd(&disk, threads, each);
    let stat = disk.stat().since(before);
    let expected = witness.stop();
    let report = profile.stop();
    let seen = &device(&report, &disk).read;
    assert_eq!((stat.reads, seen.requests), (threads * each, stat.reads));
    assert_eq!((seen.queue_time.count, seen.device_time.count), (stat.reads, stat.reads));
    // bpftrace's programs leave each other out on a CPU, as when an end interrupts an issue.
    for witnessed in [expected.queue.count(), expected.device.count()] {
        assert!(witnessed <= stat.reads && witnessed * 100 >= stat.reads * 99, "bpftrace saw {witnessed}");
    }
    let mut compared = 0;
    for (what, hist, micros) in
        [("queue", &seen.queue_time, &expected.queue), ("device", &seen.device_time, &expected.device)]
    {
        for (name, seen, at) in [("p50", hist.p50, 0.50), ("p90", hist.p90, 0.90), ("p99", hist.p99, 0.99)] {
            let expected = micros.quantile(at);
            // Two programs that take the time one after the other are a microsecond apart.
            if expected >= 50_000 {
                near(&format!("{what} {name}"), seen, expected);
                compared += 1;
            }
        }
    }
    assert!(compared >= 4, "{compared} of 6 quantiles are long enough");
    assert_nothing_lost(&report);
}

/// Commits of backends on a disk of its own for the log: their writes, and the flushes they ask for.
#[test]
fn requests_of_backends_by_role() {
    if !installed("bpftrace") {
        skip!("bpftrace is not installed");
    }
    let wal = match WalDisk::new(quiet_cluster(), disk(512, "none")) {
        Ok(wal) => wal,
        Err(reason) => skip!("no disk for the log: {reason}"),
    };
    let cluster = &wal.cluster;
    psql(cluster, "CREATE TABLE t (a int)");
    psql(cluster, "CHECKPOINT");
    let profile = Profile::start(cluster, &[]);
    let witness = BpftraceBlocks::start(wal.disk.dev());
    let before = wal.disk.stat();
    let run = Pgbench::new(cluster, 2, 100).script("INSERT INTO t VALUES (1);\n").run();
    psql(cluster, "CHECKPOINT");
    let stat = wal.disk.stat().since(before);
    let witnessed = witness.stop();
    let report = profile.stop();
    assert_eq!(run.transactions, 200);

    let seen = device(&report, &wal.disk);
    assert_eq!((seen.write.requests + seen.sync.requests, seen.flush.requests), (stat.writes, stat.flushes));
    let rows = || report.storage.block.by.iter().filter(|row| row.device == wal.disk.name);
    let of = |role: &str, operation: &str| -> u64 {
        let rows = rows().filter(|row| row.owner.name == role && row.operation == operation);
        rows.map(|row| row.requests.requests).sum()
    };
    let clients: Vec<u32> =
        report.backends.iter().filter(|one| one.role == "client backend").map(|one| one.pid).collect();
    let writes = witnessed.begun.iter().filter(|((pid, flags), _)| clients.contains(pid) && flags.starts_with('W'));
    let writes: u64 = writes.map(|(_, count)| count).sum();
    assert!(writes >= 100, "{witnessed:?}");
    assert_eq!(of("client backend", "write"), writes);
    let syncs = report.fsync.by.iter().filter(|row| row.file_kind == "wal");
    let syncs: u64 = syncs.filter(|row| row.role == "client backend").map(|row| row.count).sum();
    assert_eq!(of("client backend", "sync"), syncs, "each fdatasync of the log asks for a flush");
    assert!(of("checkpointer", "write") > 0, "{:#?}", rows().collect::<Vec<_>>());
    assert!(rows().filter(|row| row.owner.kind == "backend").all(|row| row.owner.cluster));
    assert_nothing_lost(&report);
}
