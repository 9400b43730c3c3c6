//! Parallel workers belong to the statements that started them: as many as the server says it launched, and with the CPU
//! time that the scheduler says they had.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgstrobe_tests::*;

const SETTINGS: &[&str] = &[
    "max_parallel_workers_per_gather = 2",
    "max_parallel_maintenance_workers = 2",
    "parallel_setup_cost = 0",
    "parallel_tuple_cost = 0",
    "min_parallel_table_scan_size = 0",
    "min_parallel_index_scan_size = 0",
];

fn parallel_cluster(rows: u64) -> Cluster {
    let cluster = quiet_with(SETTINGS);
    psql(&cluster, &format!("CREATE TABLE big AS SELECT a, a % 1000 AS b FROM generate_series(1, {rows}) AS a"));
    psql(&cluster, "ALTER TABLE big SET (parallel_workers = 2)");
    psql(&cluster, "VACUUM ANALYZE big");
    cluster
}

/// (workers, their time, their time on a CPU) of the statements that hold `part`.
fn workers(report: &Report, part: &str) -> (u64, u64, u64) {
    let queries = queries(report, part);
    let cpu = queries.iter().flat_map(|query| &query.workers.parts).filter(|part| part.state == "cpu");
    let cpu = cpu.map(|part| part.ns).sum();
    let wall = queries.iter().map(|query| query.workers.wall_ns).sum();
    (queries.iter().map(|query| query.worker_processes).sum(), wall, cpu)
}

/// The numbers that follow `words` in a text.
fn numbers_after(text: &str, words: &str) -> u64 {
    let rests = text.match_indices(words).map(|(at, words)| &text[at + words.len()..]);
    let digits = rests.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.map(|digits| digits.parse::<u64>().expect("a number")).sum()
}

/// What was last seen of a worker.
struct Seen {
    cpu_ns: u64,
    /// Waiting for a CPU until it was first seen.
    delayed_ns: u64,
    at: Instant,
    /// From then until it was seen to be gone.
    unseen: Duration,
}

/// Follows the workers of a cluster while `work` runs.
fn watch(cluster: &Cluster, work: impl FnOnce()) -> BTreeMap<u32, Seen> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen: BTreeMap<u32, Seen> = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                for pid in cluster.pids() {
                    let title = || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    if seen.contains_key(&pid) || title().contains("parallel worker for PID") {
                        let at = Instant::now();
                        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/schedstat")) else { continue };
                        let mut fields = text.split_whitespace().map(|field| field.parse().expect("a number"));
                        let (cpu_ns, delayed_ns) = (fields.next().expect("cpu"), fields.next().expect("delay"));
                        let new = Seen { cpu_ns, delayed_ns, at, unseen: Duration::ZERO };
                        let worker = seen.entry(pid).or_insert(new);
                        (worker.cpu_ns, worker.at) = (cpu_ns, at);
                    }
                }
                // Those that are gone since the last round were seen then, and not in this one.
                for worker in seen.values_mut().filter(|worker| worker.unseen == Duration::ZERO) {
                    if worker.at.elapsed() > Duration::from_millis(20) {
                        worker.unseen = worker.at.elapsed();
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            seen
        });
        work();
        over.store(true, Ordering::Relaxed);
        watcher.join().expect("the watcher")
    })
}

#[test]
fn as_many_as_were_launched() {
    let cluster = parallel_cluster(100_000);
    let profile = Profile::start(&cluster, &[]);
    let mut launched = 0;
    for _ in 0..10 {
        let plan = psql(&cluster, "EXPLAIN (ANALYZE, TIMING OFF) SELECT sum(a) FROM big");
        launched += numbers_after(&plan, "Workers Launched: ");
        // The same plan, between statements that never sleep.
        psql(&cluster, "SELECT 1; SELECT sum(b) FROM big; SELECT 1");
    }
    let mut client = Client::connect(&cluster, "leader");
    for _ in 0..10 {
        client.ask("SELECT max(b) FROM big");
        client.ask("SELECT 2");
    }
    let report = profile.stop();
    assert!(launched >= 10, "{launched} launched");
    assert_eq!(workers(&report, "EXPLAIN").0, launched);
    assert_eq!(workers(&report, "SELECT max(b)").0, launched, "the same plan as often");
    let all: u64 = report.queries.iter().map(|query| query.worker_processes).sum();
    assert_eq!(all, report.backends.iter().filter(|backend| backend.role == "parallel worker").count() as u64);
    let wall: u64 = report.queries.iter().map(|query| query.workers.wall_ns).sum();
    let role = report.roles.iter().find(|role| role.role == "parallel worker").expect("the role");
    assert_eq!(wall, role.outside.wall_ns, "all of their time, and once");
    assert!(!report.coverage.notes.iter().any(|note| note.contains("parallel workers")), "{:?}", report.coverage.notes);
    assert_nothing_lost(&report);
}

#[test]
fn their_cpu_is_what_the_scheduler_says() {
    let cluster = parallel_cluster(400_000);
    let profile = Profile::start(&cluster, &[]);
    let seen = watch(&cluster, || {
        for _ in 0..3 {
            psql(&cluster, "SELECT sum(length(repeat(md5(a::text), 50))) FROM big");
        }
        std::thread::sleep(Duration::from_millis(100));
    });
    let report = profile.stop();
    let (processes, wall, cpu) = workers(&report, "repeat");
    assert_eq!((processes, seen.len()), (6, 6), "two for each of three statements");
    let sum = |of: fn(&Seen) -> u64| seen.values().map(of).sum::<u64>();
    let witness = sum(|worker| worker.cpu_ns);
    // A worker can have used no more since it was last seen than the time until it was seen to be gone. Until it first
    // runs it waits for a CPU, which the ledger does not tell from running. And 1 %, as for every ledger.
    let slack = sum(|worker| worker.unseen.as_nanos() as u64) + sum(|worker| worker.delayed_ns) + witness / 100;
    println!("{cpu} ns on CPU of {wall} ns, schedstat {witness} ns, {slack} ns of slack");
    assert!(cpu + witness / 100 >= witness && cpu <= witness + slack, "{cpu} ns, schedstat {witness} ns");
    if slack >= witness / 4 {
        skip!("the machine is too busy for a witness: it is within {slack} ns of {witness} ns");
    }
}

#[test]
fn index_builds_and_vacuum() {
    let cluster = parallel_cluster(200_000);
    let profile = Profile::start(&cluster, &[]);
    let build = watch(&cluster, || drop(psql(&cluster, "CREATE INDEX by_a ON big (a)")));
    psql(&cluster, "CREATE INDEX by_b ON big (b)");
    psql(&cluster, "DELETE FROM big WHERE a % 3 = 0");
    let output = cluster.client("psql").args(["-X", "-c", "VACUUM (PARALLEL 2, VERBOSE) big"]).output().expect("psql");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = profile.stop();
    let launched = numbers_after(&said, "launched ");
    assert!(launched > 0, "{said}");
    assert_eq!(workers(&report, "VACUUM").0, launched, "{said}");
    assert_eq!(build.len(), 2, "the build's workers");
    assert_eq!(workers(&report, "by_a").0, 2);
    assert_eq!(workers(&report, "by_b").0, 2);
    assert_nothing_lost(&report);
}
