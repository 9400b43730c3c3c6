//! The ledger adds up, and agrees with the scheduler's own account.

use std::time::Instant;

use pgstrobe_tests::*;

fn total(ledger: &pgstrobe::report::model::Ledger, state: &str) -> u64 {
    ledger.parts.iter().filter(|part| part.state == state).map(|part| part.ns).sum()
}

/// Every ledger of a busy run sums to its wall time, and a sleep is where it belongs.
#[test]
fn parts_sum_to_the_wall() {
    let cluster = quiet_with(&["log_duration = on"]);
    cluster.pgbench_init(1).expect("pgbench -i");
    let profile = Profile::start(&cluster, &[]);
    let output = cluster.client("pgbench").args(["-n", "-c", "8", "-T", "3"]).output().expect("pgbench");
    assert!(output.status.success(), "{output:?}");
    let from = log_length(&cluster);
    psql(&cluster, "SELECT pg_sleep(0.5)");
    let logged: u64 = logged_durations(&cluster, from).iter().sum();
    let report = profile.stop();
    let ledgers = report
        .backends
        .iter()
        .flat_map(|backend| [&backend.ledger, &backend.outside, &backend.startup])
        .chain(report.queries.iter().map(|query| &query.ledger))
        .chain([&report.statements.ledger]);
    for ledger in ledgers {
        assert_eq!(ledger.parts.iter().map(|part| part.ns).sum::<u64>(), ledger.wall_ns);
        // Each part is measured by itself; what is left over is a defect from 0.1 % on.
        assert!(total(ledger, "unattributed") * 1000 <= ledger.wall_ns, "{ledger:?}");
    }
    let sleep = queries(&report, "pg_sleep")[0];
    let slept: u64 = sleep
        .ledger
        .parts
        .iter()
        .filter(|part| part.wait_event.as_deref() == Some("PgSleep"))
        .map(|part| part.ns)
        .sum();
    // All of the sleep but the server's own work and waits for a CPU, and no more than the server says it took.
    let awake: u64 = ["cpu", "interrupted", "runnable"].iter().map(|state| total(&sleep.ledger, state)).sum();
    println!("asleep for {slept} ns, awake for {awake} ns, {logged} ns by the server");
    assert!(slept + awake >= 500_000_000 && slept <= logged + 1000, "{slept} ns");
    assert_nothing_lost(&report);
}

/// Time on a CPU and in the run queue of one backend, against /proc/PID/schedstat over the same time.
#[test]
fn cpu_and_run_queue_agree_with_schedstat() {
    let cluster = quiet_cluster();
    // One long-lived backend, asked one statement after the other.
    let mut session = cluster
        .client("psql")
        .args(["-qAt"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("psql");
    let mut input = session.stdin.take().expect("stdin");
    let mut output = std::io::BufReader::new(session.stdout.take().expect("stdout"));
    let mut ask = |sql: &str| {
        use std::io::{BufRead as _, Write as _};
        writeln!(input, "{sql};").expect("psql reads");
        let mut line = String::new();
        output.read_line(&mut line).expect("psql answers");
        line.trim().to_owned()
    };
    let pid: u32 = ask("SELECT pg_backend_pid()").parse().expect("a pid");
    let schedstat = || -> (u64, u64) {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("schedstat");
        let mut fields = text.split_whitespace().map(|field| field.parse().expect("a number"));
        (fields.next().expect("cpu"), fields.next().expect("delay"))
    };
    /// What the ledger does not call taken by others at a switch (`SWITCH` in the eBPF side's `ledger.rs`).
    const SWITCH_NS: u64 = 200_000;
    let profile = Profile::start(&cluster, &[]);
    let (before, stolen, left) = (schedstat(), stolen_ns(), switches(pid));
    for _ in 0..20 {
        ask("SELECT count(*) FROM generate_series(1, 300000)");
    }
    let after = schedstat();
    let taken = (stolen_ns() - stolen).min((switches(pid) - left) * SWITCH_NS);
    let report = profile.stop();
    drop(input);
    let _ = session.wait();
    let backend = report.backends.iter().find(|backend| backend.pid == pid).expect("the backend");
    let sum = |state: &str| total(&backend.ledger, state) + total(&backend.outside, state);
    let (cpu, delay) = (after.0 - before.0, after.1 - before.1);
    assert!(
        sum("cpu").abs_diff(cpu) < cpu / 100 + taken,
        "on CPU {} ns, schedstat {cpu} ns (± {taken} ns of what was stolen)",
        sum("cpu")
    );
    // 1 % of the delay, or 1 % of the CPU time where the delay is next to nothing.
    assert!(
        sum("runnable").abs_diff(delay) < delay.max(cpu) / 100 + taken,
        "runnable {} ns, schedstat {delay} ns",
        sum("runnable")
    );
}

/// Each of four thousand sleeps is one, whichever task had the CPU before its end: a switch to a backend that no tracepoint
/// tells is made good from the scheduler's own account.
#[test]
fn every_sleep_is_seen() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let run = Pgbench::new(&cluster, 40, 100).script("SELECT pg_sleep(0.02);\n").run();
    let report = profile.stop();
    let query = queries(&report, "pg_sleep")[0];
    assert_eq!(query.calls, run.transactions);
    let sleeps = || query.ledger.parts.iter().filter(|part| part.wait_event.as_deref() == Some("PgSleep"));
    assert_eq!(sleeps().map(|part| part.count).sum::<u64>(), run.transactions, "{:#?}", query.ledger);
    let slept: u64 = sleeps().map(|part| part.ns).sum();
    assert!(slept >= run.transactions * 20_000_000, "{slept} ns");
    assert_nothing_lost(&report);
}

/// The time of a statement that was running when the profile began belongs to a statement, up to its end.
#[test]
fn a_statement_found_running() {
    let cluster = quiet_cluster();
    let mut client = Client::connect(&cluster, "before");
    let pid = client.backend(&cluster);
    client.send("SELECT count(*) FROM generate_series(1, 12000000)");
    let profile = Profile::start(&cluster, &[]);
    let began = Instant::now();
    client.answer().expect("the count");
    let took = began.elapsed().as_nanos() as u64;
    assert!(took > 100_000_000, "it was over {took} ns after the profile began");
    client.ask("SELECT 1");
    let report = profile.stop();
    let backend = report.backends.iter().find(|backend| backend.pid == pid).expect("the backend");
    // It has no latency, and the one after it has.
    assert_eq!((backend.statements, backend.latency.count), (1, 1));
    let query = queries(&report, "generate_series")[0];
    assert!((took..=report.duration_ns).contains(&query.ledger.wall_ns), "{} ns of {took} ns", query.ledger.wall_ns);
    for ledger in [&backend.ledger, &backend.outside] {
        assert!(total(ledger, "unattributed") * 1000 <= ledger.wall_ns, "{ledger:?}");
    }
    assert_nothing_lost(&report);
}
