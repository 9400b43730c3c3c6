//! Page faults, against what the kernel counts of each process in `/proc/PID/stat`.

use std::{collections::BTreeMap, fs};

use pgstrobe_tests::*;

/// Minor and major faults of a process so far: the 10th and 12th field (proc(5)).
fn counted(pid: u32) -> [u64; 2] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let after_name = stat.rsplit_once(") ").expect("a name in parentheses").1;
    let field = |n: usize| after_name.split(' ').nth(n - 3).and_then(|field| field.parse().ok()).expect("a number");
    [field(10), field(12)]
}

fn gained(before: [u64; 2], now: [u64; 2]) -> [u64; 2] {
    [now[0] - before[0], now[1] - before[1]]
}

fn of_backend(report: &Report, pid: u32) -> [u64; 2] {
    let faults = report.backends.iter().find(|backend| backend.pid == pid).expect("the backend").faults;
    [faults.minor, faults.major]
}

#[test]
fn of_a_backend_and_its_statements_as_the_kernel_counts() {
    let cluster = quiet_with(&["work_mem = 256MB"]);
    let mut client = Client::connect(&cluster, "faults");
    let pid = client.backend(&cluster);
    let profile = Profile::start(&cluster, &[]);
    let before = counted(pid);
    let mut by = BTreeMap::new();
    for sql in ["SELECT 1 AS none", "SELECT count(*) FROM (SELECT i FROM generate_series(1, 400000) i ORDER BY -i) s"] {
        for _ in 0..3 {
            let before = counted(pid);
            client.ask(sql);
            let [minor, _] = gained(before, counted(pid));
            *by.entry(sql).or_insert(0) += minor;
        }
    }
    let expected = gained(before, counted(pid));
    let report = profile.stop();

    println!("{expected:?}: {by:?}");
    assert!(expected[0] > 10_000, "a sort of 400,000 rows touches new memory: {expected:?}");
    assert_eq!(of_backend(&report, pid), expected);
    let of_class = |part: &str| -> u64 { queries(&report, part).iter().map(|query| query.faults.minor).sum() };
    // A statement begins when its message is read: a fault before that is of the backend, and of no class.
    let sorts = by.iter().find(|(sql, _)| sql.contains("ORDER BY")).expect("one of the two").1;
    let seen = of_class("ORDER BY");
    assert!(seen <= *sorts && sorts - seen <= 3, "{seen} in statements, {sorts} from before them to their end");
    assert!(of_class("AS none") < 100, "{}", of_class("AS none"));
    let all: u64 = report.queries.iter().map(|query| query.faults.minor).sum();
    assert_eq!(report.statements.faults.minor, all);
    for role in &report.roles {
        let backends = report.backends.iter().filter(|backend| backend.role == role.role);
        assert_eq!(role.faults.minor, backends.map(|backend| backend.faults.minor).sum::<u64>(), "{}", role.role);
    }
    assert_nothing_lost(&report);
}

#[test]
fn of_workers_to_the_statement_of_their_leader() {
    let cluster = quiet_with(&[
        "max_parallel_workers_per_gather = 2",
        "min_parallel_table_scan_size = 0",
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
        "work_mem = 256MB",
    ]);
    psql(&cluster, "CREATE TABLE t AS SELECT i, repeat('x', 90) AS b FROM generate_series(1, 200000) i");
    psql(&cluster, "VACUUM ANALYZE t");
    let profile = Profile::start(&cluster, &[]);
    psql(&cluster, "SELECT count(*) FROM t GROUP BY i % 1000");
    let report = profile.stop();

    let workers: Vec<_> = report.backends.iter().filter(|backend| backend.role == "parallel worker").collect();
    let of_workers: u64 = workers.iter().map(|worker| worker.faults.minor).sum();
    let class = queries(&report, "GROUP BY i").into_iter().next().expect("the class").clone();
    println!("{} workers with {of_workers} faults, {:?} in the class", class.worker_processes, class.faults);
    assert_eq!(class.worker_processes as usize, workers.len());
    assert!(!workers.is_empty() && of_workers > 100, "workers touch their memory for the first time");
    let leader: u64 =
        report.backends.iter().filter(|one| one.role == "client backend").map(|one| one.faults.minor).sum();
    assert!(class.faults.minor >= of_workers && class.faults.minor <= of_workers + leader, "{class:?}");
    assert_nothing_lost(&report);
}
