//! Wait events agree with what the server says of itself: with its views, asked again and again, and with an extension
//! that samples inside it.
//!
//! The statistics. A share p of the time is estimated from samples at n moments. The backends that are sampled at one
//! moment wait for the same things, so they are no independent samples: at worst they are all alike, and then there are n
//! and not n × backends. Three standard deviations of that binomial, 3 × sqrt(p (1 − p) / n), are the tolerance, which a
//! true share misses once in 370 times at the most. To it comes what is no chance: a witness on the machine it looks at
//! looks when it has a CPU itself (2 % of the time).

use std::collections::BTreeMap;
use std::time::Duration;

use pgstrobe_tests::*;

/// What no sample decides: see above.
const BIAS: f64 = 0.02;

/// Commits, row locks, and a sleep of the client's between them: every kind of wait has its share.
const MIXED: &str = "\\set aid random(1, 100000)\nBEGIN;\n\
    UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n\
    UPDATE pgbench_branches SET bbalance = bbalance + 1 WHERE bid = 1;\nSELECT pg_sleep(0.002);\nEND;\n\\sleep 5 ms\n";

const CLIENTS: u64 = 4;
const SECONDS: &str = "6";

/// Time of pgbench's backends by wait event; `none` for what has no event: on a CPU, or about to be.
fn times(report: &Report) -> BTreeMap<String, u64> {
    let mut times = BTreeMap::new();
    for backend in report.backends.iter().filter(|backend| backend.application_name.as_deref() == Some("pgbench")) {
        for part in [&backend.ledger, &backend.outside].into_iter().flat_map(|ledger| &ledger.parts) {
            let event = match (part.state.as_ref(), &part.wait_event_type, &part.wait_event) {
                // What waits for the client shows ClientRead until it runs again.
                (_, Some(kind), Some(event)) => format!("{kind}:{event}"),
                ("idle" | "idle_in_transaction", ..) => "Client:ClientRead".into(),
                _ => "none".into(),
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

fn share(of: &BTreeMap<String, u64>, event: &str) -> f64 {
    of.get(event).copied().unwrap_or(0) as f64 / of.values().sum::<u64>().max(1) as f64
}

/// Shares of the report's time and of a witness's samples, taken at `moments`.
fn assert_agree(seen: &BTreeMap<String, u64>, witness: &BTreeMap<String, u64>, moments: u64) {
    let mut off = Vec::new();
    let events: std::collections::BTreeSet<&String> = seen.keys().chain(witness.keys()).collect();
    for event in events {
        let (share_seen, expected) = (share(seen, event), share(witness, event));
        // The variance of the larger of the two: the witness may have missed a rare one altogether.
        let p = share_seen.max(expected);
        let tolerance = 3.0 * (p * (1.0 - p) / moments as f64).sqrt() + BIAS;
        println!(
            "{event}: {:.2} %, the witness {:.2} % ± {:.2} %",
            share_seen * 100.0,
            expected * 100.0,
            tolerance * 100.0
        );
        if (share_seen - expected).abs() > tolerance {
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
    assert_agree(&times(&report), &samples.all, samples.polls);
    assert_nothing_lost(&report);
}

/// Shares among the waits: the extension does not count backends that wait for nothing.
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
    load(&cluster);
    // Processes that have ended stay in the profile: pgbench's are those that the report calls so.
    let report = profile.stop();
    let pids: Vec<String> = report
        .backends
        .iter()
        .filter(|backend| backend.application_name.as_deref() == Some("pgbench"))
        .map(|backend| backend.pid.to_string())
        .collect();
    let witness = profile_of(&format!("WHERE pid IN ({})", pids.join(", ")));
    let moments = profile_of("WHERE event = 'CheckpointerMain'").values().sum();
    println!("{moments} moments");
    let mut seen = times(&report);
    seen.remove("none");
    assert_agree(&seen, &witness, moments);
    assert_nothing_lost(&report);
}
