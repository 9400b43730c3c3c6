//! Wait events agree with what the server says of itself: with its views, asked again and again, and with an extension
//! that samples inside it.
//!
//! The statistics. A share p of the time is estimated from samples at n moments. The backends that are sampled at one
//! moment wait for the same things, so they are no independent samples: at worst they are all alike, and then there are n
//! and not n × backends. Three standard deviations of that binomial, 3 × sqrt(p (1 − p) / n), are the tolerance, which a
//! true share misses once in 370 times at the most. To it comes what is no chance: a witness on the machine it looks at
//! looks when it has a CPU itself: 2 % of the time, and as much as it waited for one, which it says.
//!
//! What is compared. A backend shows a wait event from before it sleeps until after it has woken, got a CPU and run on to
//! the end of the wait. The report splits this: the sleep is the wait, the rest is CPU, and waiting for one. So a witness
//! sees each event for at least its part in the report, and for at most that and the time of no event together, which is
//! little where the machine is not busy.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgstrobe_tests::*;

/// What no sample decides: see above.
const BIAS: f64 = 0.02;

/// Commits, row locks, and a sleep of the client's between them: every kind of wait has its share.
const MIXED: &str = "\\set aid random(1, 100000)\nBEGIN;\n\
    UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n\
    UPDATE pgbench_branches SET bbalance = bbalance + 1 WHERE bid = 1;\nSELECT pg_sleep(0.002);\nEND;\n\\sleep 5 ms\n";

/// On a CPU, or about to be.
const NONE: &str = "none";

const CLIENTS: u64 = 4;
const SECONDS: &str = "6";

/// Time of pgbench's backends by wait event; `none` for what has no event: on a CPU, or about to be.
fn times(report: &Report) -> BTreeMap<String, u64> {
    let mut times = BTreeMap::new();
    for backend in report.backends.iter().filter(|backend| backend.application_name.as_deref() == Some("pgbench")) {
        for part in [&backend.ledger, &backend.outside].into_iter().flat_map(|ledger| &ledger.parts) {
            let event = match (part.state.as_ref(), &part.wait_event_type, &part.wait_event) {
                ("blocked", Some(kind), Some(event)) => format!("{kind}:{event}"),
                ("idle" | "idle_in_transaction", ..) => "Client:ClientRead".into(),
                _ => NONE.into(),
            };
            *times.entry(event).or_default() += part.ns;
        }
    }
    times
}

fn load(cluster: &Cluster) {
    std::fs::write(cluster.dir.join("mixed.sql"), MIXED).expect("a script");
    let mut pgbench = cluster.client("pgbench");
    pgbench.args(["-n", "-f", "mixed.sql", "-c", &CLIENTS.to_string(), "-T", SECONDS]);
    let output = pgbench.output().expect("pgbench");
    assert!(output.status.success(), "{output:?}");
}

/// Each as a share of `whole`.
fn shares_of(times: &BTreeMap<String, u64>, whole: u64) -> BTreeMap<String, f64> {
    times.iter().map(|(event, time)| (event.clone(), *time as f64 / whole as f64)).collect()
}

/// Shares of the report's time against those a witness saw at so many moments.
fn assert_agree(seen: &BTreeMap<String, f64>, witness: &BTreeMap<String, f64>, moments: u64, blind: f64) {
    let mut off = Vec::new();
    let share = |of: &BTreeMap<String, f64>, event: &str| of.get(event).copied().unwrap_or(0.0);
    let running = share(seen, NONE);
    let events: std::collections::BTreeSet<&String> = seen.keys().chain(witness.keys()).collect();
    for event in events {
        let (from, expected) = (share(seen, event), share(witness, event));
        let (from, to) = if event == NONE { (0.0, from) } else { (from, from + running) };
        // The variance of the larger of the two: the witness may have missed a rare one altogether.
        let p = from.max(expected);
        let tolerance = 3.0 * (p * (1.0 - p) / moments as f64).max(0.0).sqrt() + BIAS + blind;
        println!(
            "{event}: {:.2} to {:.2} %, the witness {:.2} % ± {:.2} %",
            from * 100.0,
            to * 100.0,
            expected * 100.0,
            tolerance * 100.0
        );
        if expected < from - tolerance || expected > to + tolerance {
            off.push(event);
        }
    }
    assert!(off.is_empty(), "{off:?}");
}

#[test]
fn as_pg_stat_activity_shows_them() {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    let profile = Profile::start(&cluster, &[]);
    let activity = Activity::watch(&cluster, Duration::from_millis(5));
    load(&cluster);
    let samples = activity.stop();
    let report = profile.stop();
    let (seen, whole) = (times(&report), samples.all.values().sum());
    assert_agree(&shares_of(&seen, seen.values().sum()), &shares_of(&samples.all, whole), samples.polls, samples.blind);
    assert_nothing_lost(&report);
}

/// A backend that stands still between two statements, as it sends notifications that its client does not read, is not idle:
/// neither one that the profile finds so, nor one that gets there.
#[test]
fn a_client_that_does_not_read_its_notifications() {
    let cluster = quiet_cluster();
    let listener = |name: &str| {
        let mut client = Client::connect(&cluster, name);
        client.ask("LISTEN jobs");
        client
    };
    // psql reads what it is sent unasked with its next command; a megabyte is more than a socket takes.
    let notify = |name: &str| {
        psql(&cluster, "SELECT pg_notify('jobs', i || repeat('x', 7000)) FROM generate_series(1, 150) i");
        let waits = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}' AND wait_event = 'ClientWrite'"
        );
        wait_until("its backend waits for the client", || psql(&cluster, &waits) == "1");
    };
    let _found = listener("found");
    notify("found");
    let profile = Profile::start(&cluster, &[]);
    let _later = listener("later");
    let asked = Instant::now();
    notify("later");
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let least = began.elapsed().as_nanos() as u64;
    let report = profile.stop();
    let most = asked.elapsed().as_nanos() as u64;
    let outside = |name: &str| {
        let of = |backend: &&Backend| backend.application_name.as_deref() == Some(name);
        let ledger = &report.backends.iter().find(of).expect("its backend").outside;
        let sum =
            |is: &dyn Fn(&LedgerPart) -> bool| ledger.parts.iter().filter(|part| is(part)).map(|part| part.ns).sum();
        let writes: u64 = sum(&|part| part.state == "blocked" && part.wait_event.as_deref() == Some("ClientWrite"));
        let idle: u64 = sum(&|part| part.state.starts_with("idle"));
        println!("{name}: {writes} ns in ClientWrite, {idle} ns idle, of {} ns", ledger.wall_ns);
        (writes, idle, ledger.wall_ns)
    };
    let (writes, idle, wall) = outside("found");
    assert!(idle == 0 && writes > wall - wall / 100);
    let (writes, idle, wall) = outside("later");
    assert!(least <= writes && writes <= most, "{least} to {most} ns by the clock");
    assert!(idle < wall - writes);
    assert_nothing_lost(&report);
}

/// The extension does not count backends that wait for nothing: shares are of the time of pgbench's backends.
#[test]
fn as_pg_wait_sampling_counts_them() {
    let settings = [
        "shared_preload_libraries = 'pg_wait_sampling'",
        "pg_wait_sampling.profile_period = 1",
        "pg_wait_sampling.profile_queries = off",
    ];
    let extension = xtask::cluster::find_bin_dir().expect("a server").with_file_name("lib").join("pg_wait_sampling.so");
    if !extension.is_file() {
        skip!("the extension pg_wait_sampling is not installed");
    }
    let cluster = quiet_with(&settings);
    cluster.pgbench_init(1).expect("pgbench -i");
    psql(&cluster, "CREATE EXTENSION pg_wait_sampling");
    // Who samples, and how many moments there were: one process that waits for one thing all the time.
    let profile_of = |condition: &str| {
        let sql =
            format!("SELECT event_type, event, sum(count) FROM pg_wait_sampling_profile {condition} GROUP BY 1, 2");
        let rows = psql(&cluster, &sql);
        let row = |line: &str| {
            let words: Vec<&str> = line.split('|').collect();
            (format!("{}:{}", words[0], words[1]), words[2].parse::<u64>().expect("a count"))
        };
        rows.lines().map(row).collect::<BTreeMap<String, u64>>()
    };
    let profile = Profile::start(&cluster, &[]);
    psql(&cluster, "SELECT pg_wait_sampling_reset_profile()");
    let begun = Instant::now();
    load(&cluster);
    let moments: u64 = profile_of("WHERE event = 'CheckpointerMain'").values().sum();
    let apart_ns = begun.elapsed().as_nanos() as u64 / moments;
    // Processes that have ended stay in the profile: pgbench's are those that the report calls so.
    let report = profile.stop();
    let pids: Vec<String> = report
        .backends
        .iter()
        .filter(|backend| backend.application_name.as_deref() == Some("pgbench"))
        .map(|backend| backend.pid.to_string())
        .collect();
    let witness = profile_of(&format!("WHERE pid IN ({})", pids.join(", ")));
    println!("{moments} moments, {apart_ns} ns apart");
    let seen = times(&report);
    let lives: u64 = seen.values().sum();
    // What was seen at a moment stands for the time to the next.
    let witness: BTreeMap<String, u64> = witness.into_iter().map(|(event, count)| (event, count * apart_ns)).collect();
    assert_agree(&shares_of(&seen, lives), &shares_of(&witness, lives), lives / apart_ns / CLIENTS, 0.0);
    assert_nothing_lost(&report);
}
