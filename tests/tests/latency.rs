//! Latencies are the server's share of what the client measured.
//!
//! How the share is taken: pgbench's log holds what the client waited; on top of the server's work that is the way
//! there and back (system calls and wake-ups on both sides). The way is measured without pgstrobe: the same client runs
//! a statement that does next to nothing, and the server logs how long it took it (`log_duration`); the difference of
//! the medians is the way. What is profiled then is a statement long enough for the way to be a small part of it.

use pgstrobe_tests::*;

const LIGHT: &str = "SELECT 1;\n";
/// Runs of which one must be undisturbed.
const RUNS: u32 = 4;
const HEAVY: &str = "SELECT count(*) FROM generate_series(1, 20000);\n";

#[test]
fn percentiles_agree_with_the_client() {
    let cluster = quiet_cluster();
    psql(&cluster, "ALTER SYSTEM SET log_duration = on");
    psql(&cluster, "SELECT pg_reload_conf()");
    let from = std::fs::metadata(cluster.log_path()).expect("log").len();
    let client = Pgbench::new(&cluster, 1, 3000).script(LIGHT).log().run().latencies;
    let server = server_durations(&cluster, from);
    assert!(server.len() >= 3000, "the server logged {} durations", server.len());
    let way = client.quantile(0.5).saturating_sub(server.quantile(0.5));
    psql(&cluster, "ALTER SYSTEM RESET log_duration");
    psql(&cluster, "SELECT pg_reload_conf()");

    // A client that the host keeps from running for a while is late in its own log only, and ten late answers move its
    // p99: such a run says nothing of the server. A wrong boundary would be wrong in every run.
    let mut disagreements = Vec::new();
    for _ in 0..RUNS {
        let profile = Profile::start(&cluster, &[]);
        let client = Pgbench::new(&cluster, 1, 1000).script(HEAVY).log().run().latencies;
        let report = profile.stop();
        let seen = &report.statements.latency;
        assert_eq!(seen.count, 1000);
        assert_nothing_lost(&report);
        let off = [("p50", 0.5, seen.p50), ("p90", 0.9, seen.p90), ("p99", 0.99, seen.p99)].into_iter().find_map(
            |(name, at, seen)| {
                let expected = client.quantile(at) - way;
                let tolerance = expected * 3 / 100 + 10_000;
                println!("{name}: pgstrobe {seen} ns, pgbench less the way of {way} ns: {expected} ns");
                let off = format!("{name}: {seen} ns, expected {expected} ± {tolerance} ns");
                let agrees = seen.abs_diff(expected) <= tolerance;
                // Only the tail of the client's log can be its own delay: the rest must agree in every run.
                assert!(agrees || name == "p99", "{off}");
                (!agrees).then_some(off)
            },
        );
        match off {
            None => return,
            Some(off) => disagreements.push(off),
        }
    }
    panic!("no run agrees with the client: {disagreements:?}");
}

#[test]
fn a_sleep_reads_what_it_slept() {
    let cluster = quiet_cluster();
    for boundary in ["socket", "uprobe"] {
        let profile = Profile::start(&cluster, &["--boundary", boundary]);
        for _ in 0..4 {
            psql(&cluster, "SELECT pg_sleep(0.25)");
        }
        let report = profile.stop();
        let sleeps = queries(&report, "pg_sleep");
        assert_eq!(sleeps.iter().map(|query| query.calls).sum::<u64>(), 4, "{boundary}");
        for hist in sleeps.iter().map(|query| &query.latency) {
            for seen in [hist.min, hist.p50, hist.max] {
                assert!(seen.abs_diff(250_000_000) <= 2_500_000, "{seen} ns for 250 ms, {boundary}");
            }
        }
    }
}
