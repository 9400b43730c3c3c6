//! Asynchronous I/O of PostgreSQL 18: what io workers read and who waits for that, how much is under way by the server's
//! own word (`pg_aios`), too few workers, and io_uring.

use std::time::{Duration, Instant};

use pgstrobe::report::model::{Aio, AioWait};
use pgstrobe_tests::*;

const SCAN: &str = "SELECT count(*) FROM big";

fn aio(report: &Report) -> &Aio {
    report.storage.aio.as_ref().expect("a section on asynchronous I/O")
}

fn by_workers(report: &Report) -> impl Iterator<Item = &AioWait> {
    aio(report).waits.iter().filter(|wait| wait.by == "io worker")
}

fn workers(cluster: &Cluster) -> Vec<u32> {
    let types = backend_types(cluster);
    types.into_iter().filter(|(_, kind)| kind == "io worker").map(|(pid, _)| pid).collect()
}

fn scans(cluster: &Cluster, clients: u64, each: u64) {
    Pgbench::new(cluster, clients, each).script(&format!("{SCAN};\n")).run();
}

/// Tables of 8 MiB, so that each client reads its own: those that scan the same one wait for each other's reads.
fn parts(cluster: &Cluster, n: u64) {
    for i in 0..n {
        psql(cluster, &format!("CREATE TABLE part{i} AS SELECT * FROM big WHERE i <= 8000"));
        psql(cluster, &format!("VACUUM ANALYZE part{i}"));
    }
    psql(cluster, "CHECKPOINT");
}

/// Operations by the server's own word, by process; the largest first.
fn under_way(client: &mut Client) -> Vec<u64> {
    let rows = "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n DESC), '') FROM \
                (SELECT count(*) AS n FROM pg_aios WHERE state = 'SUBMITTED' GROUP BY pid) AS of_process";
    client.ask(rows).split_whitespace().map(|n| n.parse().expect("a number")).collect()
}

/// The looks of a profile in which nothing moves.
fn assert_depth(report: &Report, expected: &[u64]) {
    let depth = aio(report).depth.as_ref().expect("a depth");
    println!("{depth:?}, by pg_aios {expected:?}");
    let all: u64 = expected.iter().sum();
    assert!(depth.looks >= 5 && depth.busy_looks == depth.looks, "{depth:?}");
    assert_eq!((depth.max, depth.mean, depth.busy_mean), (all, all as f64, all as f64));
    assert_eq!((depth.process_max, depth.processes_max), (expected[0], expected.len() as u64));
}

/// How long an idle CPU of a virtual machine takes to wake up and run a task, on average, at the most, in nanoseconds.
const WAKES_UP: u64 = 100_000;

#[test]
fn reads_of_workers_and_who_waits() {
    let cluster = match aio_cluster("npm-18", "worker", &["io_workers = 2"]) {
        Ok(cluster) => cluster,
        Err(reason) => skip!("{reason}"),
    };
    // Scans of a large table alone read in this way. The server counts it to the process that asks.
    let by_server = || -> u64 {
        let read = "SELECT sum(read_bytes) FROM pg_stat_io WHERE context = 'bulkread' AND object = 'relation'";
        psql(&cluster, read).parse().expect("a number")
    };
    let (pids, before) = (workers(&cluster), by_server());
    assert_eq!(pids.len(), 2);
    let witness = BpftraceReads::start();
    let profile = Profile::start(&cluster, &[]);
    scans(&cluster, 2, 3);
    let report = profile.stop();
    let seen = witness.stop(&pids);
    let read = by_server() - before;

    // What the workers read is there by file, and what was read of the table is what the server says it read.
    let mut own = Reads::default();
    for row in report.storage.files.by.iter().filter(|row| row.role == "io worker") {
        own = Reads {
            count: own.count + row.io.reads,
            bytes: own.bytes + row.io.read_bytes,
            ns: own.ns + row.io.read_ns,
        };
    }
    println!("bpftrace {seen:?}, pgstrobe {own:?}");
    assert_eq!((own.count, own.bytes), (seen.count, seen.bytes));
    assert!(own.count > 300, "too few to say something: {own:?}");
    let big = report.storage.files.relations.iter().find(|one| one.name.as_deref() == Some("public.big"));
    assert_eq!(big.expect("the table").io.read_bytes, read, "pg_stat_io");

    // Who waited: the time of the class under that wait event.
    let query = &queries(&report, "FROM big")[0];
    let event = |part: &&pgstrobe::report::model::LedgerPart| part.wait_event.as_deref() == Some("AioIoCompletion");
    let (ns, count) = query.ledger.parts.iter().filter(event).fold((0, 0), |sum, p| (sum.0 + p.ns, sum.1 + p.count));
    let of_class = by_workers(&report).find(|wait| wait.query.as_deref() == Some(query.query.as_str()));
    let wait = of_class.expect("the class waited for io workers");
    println!("ledger: {ns} ns in {count} sleeps; {wait:?}");
    // A wait for a worker ends with the wake-up. That of the ledger ends where the scheduler's clock has it, which may stand
    // still until the CPU has woken from its idleness (see `Sleeps`).
    assert!(wait.total_ns as f64 <= 1.02 * ns as f64, "{} of {ns} ns", wait.total_ns);
    assert!(ns.saturating_sub(wait.total_ns) < WAKES_UP * count, "{} of {ns} ns in {count} sleeps", wait.total_ns);
    assert!(wait.count.abs_diff(count) as f64 <= 0.02 * count as f64, "{} of {count}", wait.count);
    assert_eq!(wait.queued_ns + wait.reading_ns + wait.completing_ns, wait.total_ns);
    // Direct I/O: none of it was in the page cache.
    assert_eq!(wait.from_device, wait.count);
    assert_eq!((aio(&report).method.as_str(), aio(&report).workers.as_ref().map(|w| w.setting)), ("worker", Some(2)));
    assert_nothing_lost(&report);
}

/// A worker that is stopped: what is under way stands still, and the wait is one in the queue.
#[test]
fn depth_and_queue_while_the_worker_is_stopped() {
    let cluster = match aio_cluster("npm-18", "worker", &["io_workers = 1"]) {
        Ok(cluster) => cluster,
        Err(reason) => skip!("{reason}"),
    };
    let mut witness = Client::connect(&cluster, "witness");
    under_way(&mut witness);
    parts(&cluster, 3);
    let mut clients = ["a", "b", "c"].map(|name| Client::connect(&cluster, name));
    let whole = Profile::start(&cluster, &[]);
    let worker = Stopped::stop(&workers(&cluster));
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(&format!("SELECT count(*) FROM part{i}"));
    }
    wait_until("all three wait", || under_way(&mut witness).len() == 3);
    let stuck = Instant::now();
    let expected = under_way(&mut witness);
    let profile = Profile::start(&cluster, &[]);
    std::thread::sleep(Duration::from_millis(700));
    let report = profile.stop();
    assert_eq!(under_way(&mut witness), expected, "nothing moved");
    let stuck = stuck.elapsed().as_nanos() as u64;
    drop(worker);
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().as_deref(), Some("8000")));
    assert_depth(&report, &expected);

    let report = whole.stop();
    for (i, _) in clients.iter().enumerate() {
        let of_class = |wait: &&AioWait| wait.query.as_deref().is_some_and(|query| query.contains(&format!("part{i}")));
        let wait = by_workers(&report).find(of_class).expect("waits for the worker");
        println!("stopped for {stuck} ns: {wait:?}");
        assert!(wait.max_ns >= stuck && wait.queued_ns >= stuck, "{stuck} ns: {wait:?}");
        assert!(wait.reading_ns < stuck, "{wait:?}");
    }
    assert!(aio(&report).depth.as_ref().is_some_and(|depth| depth.max >= expected.iter().sum()));
    assert_nothing_lost(&report);
}

/// One worker for six scans, and then eight.
#[test]
fn too_few_workers() {
    let cluster = match aio_cluster("npm-18", "worker", &["io_workers = 1"]) {
        Ok(cluster) => cluster,
        Err(reason) => skip!("{reason}"),
    };
    parts(&cluster, 6);
    let scan = || Pgbench::new(&cluster, 6, 10).script("SELECT count(*) FROM part:client_id;\n").run();
    let queued = |report: &Report| {
        let (queued, all) =
            by_workers(report).fold((0, 0), |sum, wait| (sum.0 + wait.queued_ns, sum.1 + wait.total_ns));
        queued as f64 / all.max(1) as f64
    };
    let profile = Profile::start(&cluster, &[]);
    scan();
    let report = profile.stop();
    let one = queued(&report);
    let found = report.findings.iter().find(|finding| finding.id == "io_workers");
    let found = found.unwrap_or_else(|| panic!("no finding: {:#?}", aio(&report)));
    println!("{found:#?}");
    assert!(found.advice.contains("io_workers (now 1"), "{}", found.advice);
    assert_nothing_lost(&report);

    psql(&cluster, "ALTER SYSTEM SET io_workers = 8");
    psql(&cluster, "SELECT pg_reload_conf()");
    wait_until("eight workers", || workers(&cluster).len() == 8);
    let profile = Profile::start(&cluster, &[]);
    scan();
    let report = profile.stop();
    println!("of the waits in the queue: {one} with one worker, {} with eight", queued(&report));
    assert!(queued(&report) < one, "{} with eight workers, {one} with one", queued(&report));
}

#[test]
fn io_uring() {
    let cluster = match aio_cluster("debian-18", "io_uring", &[]) {
        Ok(cluster) => cluster,
        Err(reason) => skip!("{reason}"),
    };
    let profile = Profile::start(&cluster, &[]);
    scans(&cluster, 2, 3);
    let report = profile.stop();
    let section = aio(&report);
    assert_eq!((section.method.as_str(), section.workers.as_ref()), ("io_uring", None));
    let query = &queries(&report, "FROM big")[0];
    let waits = query.ledger.parts.iter().filter(|p| p.wait_event.as_deref() == Some("AioIoUringExecution"));
    let waits: Vec<_> = waits.filter(|part| part.state == "blocked").collect();
    println!("{waits:#?}");
    assert!(waits.iter().any(|part| part.cause.as_deref() == Some("io_uring") && part.ns > 0), "{:#?}", query.ledger);
    assert!(waits.iter().all(|part| part.cause.as_deref() != Some("other")), "{waits:#?}");
    assert!(report.storage.files.io_uring && by_workers(&report).next().is_none());
    assert_nothing_lost(&report);

    // A process that is stopped in a scan takes no completions: its operations stay as they are.
    let mut witness = Client::connect(&cluster, "witness");
    let mut scanning = Client::connect(&cluster, "scanning");
    let pid = scanning.backend(&cluster);
    scanning.send("SELECT count(*) FROM big, generate_series(1, 20)");
    let mut tries = 0;
    let (stopped, expected) = loop {
        let stopped = Stopped::stop(&[pid]);
        let seen = under_way(&mut witness);
        if !seen.is_empty() {
            break (stopped, seen);
        }
        drop(stopped);
        tries += 1;
        assert!(tries < 200, "never seen with an operation under way");
        std::thread::sleep(Duration::from_millis(3));
    };
    let profile = Profile::start(&cluster, &[]);
    std::thread::sleep(Duration::from_millis(700));
    let report = profile.stop();
    assert_eq!(under_way(&mut witness), expected, "nothing moved");
    drop(stopped);
    assert_depth(&report, &expected);
}

/// Versions before have none, and say nothing.
#[test]
fn absent_before_18() {
    let cluster = quiet_cluster();
    let major: u32 = psql(&cluster, "SHOW server_version_num").parse::<u32>().expect("a version") / 10_000;
    let report = Profile::start(&cluster, &[]).stop();
    assert_eq!(report.storage.aio.is_some(), major >= 18);
}
