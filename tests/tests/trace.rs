//! `pgstrobe trace`: a line for each request to a block device, as the kernel counts them, with the times that bpftrace
//! measures; and how a trace ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use pgstrobe::report::trace::Request;
use pgstrobe_tests::*;
use xtask::children::Owned;

/// How long something may take that must come to its end; far beyond what a busy machine takes.
const LONG: Duration = Duration::from_secs(120);

fn assert_nothing_lost(traced: &Traced) {
    assert_eq!((traced.lost(), traced.code), (0, Some(0)), "{:?}", traced.end.coverage.lost);
    assert!(!traced.end.coverage.lost.is_empty(), "it names no reason for loss, not even with a zero");
    assert_eq!(traced.end.requests, traced.requests.len() as u64);
    assert!(traced.requests.is_sorted_by_key(|request| request.completed_ns), "in the order of their ends");
    assert!(traced.requests.iter().all(|one| one.completed_ns <= traced.end.duration_ns));
}

#[test]
fn every_request_as_the_kernel_counts() {
    let cluster = quiet_cluster();
    for scheduler in ["none", "mq-deadline"] {
        let (disk, other) = match (LoopDisk::new(64, scheduler), LoopDisk::new(64, scheduler)) {
            (Ok(disk), Ok(other)) => (disk, other),
            (Err(reason), _) | (_, Err(reason)) => skip!("no loop devices with {scheduler}: {reason}"),
        };
        let one = Trace::start(&cluster, "one", &["--all", "--device", &disk.name]);
        let both = Trace::start(&cluster, "both", &["--all"]);
        let own = Trace::start(&cluster, "own", &["--device", &format!("/dev/{}", disk.name)]);
        let before = (disk.stat(), other.stat());
        use_disk(&disk, 4, 200);
        use_disk(&other, 1, 20);
        let expected = (disk.stat().since(before.0), other.stat().since(before.1));
        let (one, both, own) = (one.stop(), both.stop(), own.stop());
        assert!(expected.0.reads >= 800 && expected.0.writes >= 800 && expected.0.flushes > 0, "{expected:?}");
        for (traced, others) in [(&one, Stat::default()), (&both, expected.1)] {
            assert_nothing_lost(traced);
            assert_eq!((traced.stat(&disk.name), traced.stat(&other.name)), (expected.0, others), "{scheduler}");
            assert_eq!(
                traced.of(&disk.name).filter(|one| one.operation == "sync").count(),
                80,
                "each fdatasync is one"
            );
        }
        assert!(one.requests.iter().all(|request| request.device == disk.name));
        assert_eq!((one.begin.all, one.begin.device.as_ref()), (true, Some(&disk.name)));
        // None of it is of the cluster.
        assert_nothing_lost(&own);
        assert_eq!((own.requests.len(), own.begin.all), (0, false));
        let name = std::fs::read_to_string("/proc/thread-self/comm").expect("own name");
        for request in one.requests.iter().filter(|one| ["read", "write", "sync", "discard"].contains(&&*one.operation))
        {
            let owner = &request.owner;
            assert_eq!((owner.kind.as_str(), owner.pid, owner.cluster), ("process", Some(std::process::id()), false));
            assert!(
                !owner.name.is_empty() && (request.operation != "discard" || owner.name == name.trim()),
                "{owner:?}"
            );
            assert!(request.device_ns.is_some_and(|ns| ns > 0) && request.error.is_none(), "{request:?}");
            let bytes = disk.open().metadata().map(|_| 64_u64 << 20).expect("the disk");
            assert!(request.sector.is_none_or(|sector| sector * 512 + request.bytes <= bytes), "{request:?}");
            assert_eq!(request.sector.is_some(), request.operation != "sync", "{request:?}");
        }
    }
}

/// Two programs at one tracepoint take the time one after the other: how far apart their durations may be. One that is
/// interrupted between them is further off.
const NEAR_NS: u64 = 20_000;

#[test]
fn times_of_single_requests_as_bpftrace() {
    if !installed("bpftrace") {
        skip!("bpftrace is not installed");
    }
    let cluster = quiet_cluster();
    // The driver takes 128 requests at a time: the others wait in the scheduler's queue.
    let (threads, each) = (200, 20);
    let disk = match LoopDisk::new((threads * each * CROWD_BLOCK) >> 20, "mq-deadline") {
        Ok(disk) => disk,
        Err(reason) => skip!("no loop device: {reason}"),
    };
    let trace = Trace::start(&cluster, "trace", &["--all", "--device", &disk.name]);
    let witness = BpftraceRequests::start(disk.dev());
    let before = disk.stat();
    crowd(&disk, threads, each);
    let stat = disk.stat().since(before);
    let expected = witness.stop();
    let traced = trace.stop();
    assert_nothing_lost(&traced);
    assert_eq!((stat.reads, traced.requests.len() as u64), (threads * each, threads * each));
    for (what, times, ns) in [
        ("queue", &expected.queue, (|one| one.queue_ns) as fn(&Request) -> Option<u64>),
        ("device", &expected.device, |one| one.device_ns),
    ] {
        let mut apart = Vec::new();
        for request in &traced.requests {
            let Some(witnessed) = times.get(&request.sector.expect("a read has a sector")) else { continue };
            let seen = ns(request).unwrap_or_else(|| panic!("{what}: bpftrace saw {witnessed} ns: {request:?}"));
            apart.push(seen.abs_diff(*witnessed));
        }
        apart.sort_unstable();
        let at = |part: usize| apart[(apart.len() - 1) * part / 1000];
        println!("{what}: {} compared, apart by p50 {} p99 {} max {} ns", apart.len(), at(500), at(990), at(1000));
        // bpftrace's programs leave each other out on a CPU, as when an end interrupts an issue.
        assert!(apart.len() as u64 * 100 >= stat.reads * 99, "{what}: {} of {} compared", apart.len(), stat.reads);
        assert!(at(990) <= NEAR_NS, "{what}: {} ns apart", at(990));
    }
    let longest = traced.requests.iter().filter_map(|one| one.queue_ns).max();
    println!("longest in the queue: {longest:?} ns");
    assert!(longest > Some(50 * NEAR_NS), "long enough to tell: {longest:?}");
}

fn took(request: &Request) -> u64 {
    request.queue_ns.unwrap_or(0) + request.device_ns.unwrap_or(0)
}

/// Reads one after the other, which take some ten microseconds each, and many at a time, which wait for each other.
#[test]
fn only_those_that_took_so_long() {
    const LEAST_NS: u64 = 200_000;
    // Each trace takes its own times: what is on the edge may be on either side.
    const EDGE_NS: u64 = 2 * NEAR_NS;
    let cluster = quiet_cluster();
    let (threads, each) = (256, 8);
    let (crowded, alone) = (threads * each, 200);
    let disk = match LoopDisk::new(((crowded + alone) * CROWD_BLOCK).div_ceil(1 << 20), "mq-deadline") {
        Ok(disk) => disk,
        Err(reason) => skip!("no loop device: {reason}"),
    };
    let args = ["--all", "--device", &disk.name];
    let all = Trace::start(&cluster, "all", &args);
    let slow = Trace::start(&cluster, "slow", &[&args[..], &["--min", "0.2"]].concat());
    let (file, mut buffer) = (disk.open(), Aligned::new(CROWD_BLOCK as usize));
    for block in crowded..crowded + alone {
        file.read_exact_at(buffer.bytes(), block * CROWD_BLOCK).expect("a read");
    }
    crowd(&disk, threads, each);
    let (all, slow) = (all.stop(), slow.stop());
    assert_nothing_lost(&all);
    assert_nothing_lost(&slow);
    assert_eq!((all.requests.len() as u64, slow.begin.min_ns), (crowded + alone, LEAST_NS));
    assert!(slow.requests.iter().all(|request| took(request) >= LEAST_NS));
    let sectors = |requests: &[Request], least: u64| -> BTreeSet<u64> {
        requests.iter().filter(|one| took(one) >= least).filter_map(|one| one.sector).collect()
    };
    let seen = sectors(&slow.requests, 0);
    let (surely, perhaps) = (sectors(&all.requests, LEAST_NS + EDGE_NS), sectors(&all.requests, LEAST_NS - EDGE_NS));
    println!("{} of {}, {} surely and {} perhaps", seen.len(), all.requests.len(), surely.len(), perhaps.len());
    // One in a hundred may be further apart, where one of the programs was interrupted.
    let wrong = surely.difference(&seen).count() + seen.difference(&perhaps).count();
    assert!(wrong * 100 <= all.requests.len(), "{wrong} of {} are wrong", all.requests.len());
    assert!(surely.len() >= 100 && perhaps.len() + 100 <= all.requests.len(), "both kinds");
}

/// Commits on a disk of its own for the log: each process has its requests, whether or not it lives to the next tick.
#[test]
fn requests_of_backends_by_pid_and_role() {
    if !installed("bpftrace") {
        skip!("bpftrace is not installed");
    }
    let wal = match WalDisk::new(quiet_cluster(), LoopDisk::new(512, "none")) {
        Ok(wal) => wal,
        Err(reason) => skip!("no disk for the log: {reason}"),
    };
    let cluster = &wal.cluster;
    psql(cluster, "CREATE TABLE t (a int)");
    psql(cluster, "CHECKPOINT");
    let trace = Trace::start(cluster, "trace", &["--device", &wal.disk.name]);
    let witness = BpftraceBlocks::start(wal.disk.dev());
    let run = Pgbench::new(cluster, 2, 100).script("INSERT INTO t VALUES (1);\n").run();
    psql(cluster, "INSERT INTO t VALUES (2)");
    psql(cluster, "CHECKPOINT");
    let witnessed = witness.stop();
    let traced = trace.stop();
    assert_eq!(run.transactions, 200);
    assert_nothing_lost(&traced);
    assert!(traced.requests.iter().all(|one| one.owner.cluster && one.device == wal.disk.name), "the cluster's own");
    let mut seen: BTreeMap<u32, u64> = BTreeMap::new();
    let backends = || traced.requests.iter().filter(|one| one.owner.kind == "backend" && one.operation == "write");
    for one in backends() {
        *seen.entry(one.owner.pid.expect("a backend has its pid")).or_default() += 1;
    }
    let mut expected: BTreeMap<u32, u64> = BTreeMap::new();
    for ((pid, flags), n) in &witnessed.begun {
        if seen.contains_key(pid) && flags.starts_with('W') {
            *expected.entry(*pid).or_default() += n;
        }
    }
    assert_eq!(seen, expected);
    let roles: BTreeSet<&str> = backends().map(|one| one.owner.name.as_str()).collect();
    assert!(
        roles.contains("client backend") && roles.contains("checkpointer") && !roles.contains("unknown"),
        "{roles:?}"
    );
    assert!(seen.len() >= 4, "two of pgbench, one of psql, the checkpointer: {seen:?}");
    assert!(traced.requests.iter().any(|one| one.operation == "sync" && one.owner.name == "client backend"));
}

#[test]
fn what_finds_no_room_is_counted_and_said() {
    let cluster = quiet_cluster();
    let disk = match LoopDisk::new(64, "none") {
        Ok(disk) => disk,
        Err(reason) => skip!("no loop device: {reason}"),
    };
    let args = ["--all", "--device", &disk.name, "--ring-buffer", "4", "--fail-on-loss"];
    let trace = Trace::start(&cluster, "trace", &args);
    let before = disk.stat();
    use_disk(&disk, 4, 200);
    let expected = disk.stat().since(before);
    let traced = trace.stop();
    let lost = traced.end.coverage.lost["traced_requests_ring_full"];
    let all = expected.reads + expected.writes + expected.discards + expected.flushes;
    assert!(lost > 0 && traced.lost() == lost, "{:?}", traced.end.coverage.lost);
    assert_eq!((traced.requests.len() as u64 + lost, traced.code), (all, Some(5)));
    assert!(traced.said.lines().last().is_some_and(|line| line.contains("lost: ")), "{}", traced.said);
}

/// A trace on a pipe, past its first lines.
fn piped(cluster: &Cluster, args: &[&str]) -> Owned {
    let mut command = pgstrobe();
    command.args(["trace", "--all", "--pid", &cluster.pid().to_string()]).args(args);
    let mut child = Owned::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()), libc::SIGKILL).expect("it");
    let mut said = [0; 1];
    // It speaks once it is attached.
    child.child().stderr.as_mut().expect("stderr").read_exact(&mut said).expect("it is attached");
    child
}

fn rest(child: &mut Owned) -> String {
    let mut text = String::new();
    child.child().stderr.take().expect("stderr").read_to_string(&mut text).expect("stderr");
    text
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let cluster = quiet_cluster();
    let disk = match LoopDisk::new(64, "none") {
        Ok(disk) => disk,
        Err(reason) => skip!("no loop device: {reason}"),
    };
    for busy in [false, true] {
        let mut child = piped(&cluster, &["--device", &disk.name]);
        drop(child.child().stdout.take());
        if busy {
            use_disk(&disk, 1, 10);
        }
        let status = child.wait(LONG).expect("it ends by itself, as nobody reads");
        assert_eq!((status.code(), rest(&mut child).lines().count()), (Some(0), 1), "only that it is attached");
    }
}

#[test]
fn ctrl_c_ends_it_even_when_its_reader_sleeps() {
    let cluster = quiet_cluster();
    let disk = match LoopDisk::new(64, "none") {
        Ok(disk) => disk,
        Err(reason) => skip!("no loop device: {reason}"),
    };
    let mut child = piped(&cluster, &["-o", "json", "--device", &disk.name]);
    // Some 400 KiB, where the pipe takes 64.
    use_disk(&disk, 4, 200);
    std::thread::sleep(Duration::from_millis(300));
    child.signal(libc::SIGINT);
    // Nobody ever reads: it ends by itself or not at all.
    let status = child.wait(LONG).expect("it ends");
    let said = rest(&mut child);
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("nobody takes the rest of the trace"), "{said}");
}

/// Text on the standard output, until its time is over.
#[test]
fn text_for_a_while() {
    let cluster = quiet_cluster();
    let disk = match LoopDisk::new(64, "none") {
        Ok(disk) => disk,
        Err(reason) => skip!("no loop device: {reason}"),
    };
    let mut child = piped(&cluster, &["-d", "2", "--device", &disk.name]);
    use_disk(&disk, 1, 1);
    let mut stdout = String::new();
    child.child().stdout.take().expect("stdout").read_to_string(&mut stdout).expect("stdout");
    let (status, said) = (child.wait(LONG).expect("it ends"), rest(&mut child));
    assert_eq!(status.code(), Some(0), "{said}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("PostgreSQL 1") && lines[1].trim_start().starts_with("SECONDS  DEVICE"), "{lines:#?}");
    let rows = || lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of = |what: &str| rows().filter(|words| words.get(1..3) == Some(&[disk.name.as_str(), what])).count();
    assert_eq!((of("write"), of("read"), of("sync"), of("flush"), of("discard")), (1, 1, 1, 1, 1), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("5 requests in 2.")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("lost: 0 (")) && stdout.contains("cost: "), "{lines:#?}");
}

#[test]
fn killed_it_leaves_nothing() {
    let cluster = quiet_cluster();
    let before = BpfObjects::now();
    let trace = Trace::start(&cluster, "trace", &[]);
    let own = BpfObjects::now().since(&before);
    assert!(own.count("program") > 0 && own.count("map") > 0, "{own:?}");
    trace.kill();
    // The kernel frees programs after a grace period.
    let end = Instant::now() + LONG;
    while !BpfObjects::now().both(&own).is_empty() {
        assert!(Instant::now() < end, "left behind: {:?}", BpfObjects::now().both(&own));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_cannot_be_traced_is_refused() {
    let cluster = quiet_cluster();
    let pid = cluster.pid().to_string();
    for (args, code, said) in [
        (&["--device", "no-such-disk"][..], 2, "there is no such block device"),
        (&["--min=-1"], 2, "a number of milliseconds"),
        (&["--pid", "1"], 3, ""),
        (&["--pid", &pid, "-o", "/no/such/dir/t.json"], 1, "cannot write the trace to /no/such/dir/t.json"),
        (&["--pid", &pid, "-o", "trace.pdf"], 2, "cannot tell the format"),
    ] {
        let refusal = refused(pgstrobe().args(["trace", "-d", "1"]).args(args));
        assert_eq!(refusal.code, Some(code), "{args:?}: {}", refusal.stderr);
        assert!(refusal.stderr.contains(said) && !refusal.stderr.contains("panicked"), "{args:?}: {}", refusal.stderr);
    }
}
