//! Latencies are the server's share of what the client measured.
//!
//! How the share is taken: statement by statement, on the wire. What a client measures is the server's time and its own:
//! its system calls, and its waits for a CPU when others want one too. No calibration takes the second part out, because
//! it differs from statement to statement. So the interval is measured where client and server meet: from the packet
//! that brings the query to the packet that takes the answer away, both stamped by the kernel in the context of their
//! sender. That is what pgstrobe claims to measure, its witness shares no hook with it, and what happens to the client
//! outside of it is not seen. The client's own clock confirms the witness: no statement may take longer on the wire than
//! by that clock, and one that is not disturbed takes hardly less.

use pgstrobe_tests::*;

const STATEMENTS: usize = 1000;
/// Long enough for the time stamps' distance to pgstrobe's hooks, some microseconds, to be a small part of it.
const QUERY: &str = "SELECT count(*) FROM generate_series(1, 20000)";

#[test]
fn percentiles_agree_with_the_wire() {
    let cluster = cluster(ClusterOptions { tcp: true, ..ClusterOptions::with(QUIET) });
    let profile = Profile::start(&cluster, &[]);
    let tap = Wire::tap(cluster.port);
    let client = patient_client(&cluster, QUERY, STATEMENTS);
    let wire = tap.statements();
    let report = profile.stop();
    assert_eq!((wire.len(), report.statements.count), (STATEMENTS, STATEMENTS as u64));
    assert_nothing_lost(&report);

    let share = client.iter().zip(&wire).map(|(client, wire)| client.checked_sub(*wire));
    let share: Vec<u64> = share.map(|ns| ns.expect("the wire is inside what the client measured")).collect();
    let share = Latencies::of(share);
    println!(
        "the client's share: p1 {} ns, p50 {} ns, p99 {} ns",
        share.quantile(0.01),
        share.quantile(0.5),
        share.quantile(0.99)
    );
    assert!(share.quantile(0.01) < 200_000, "the tap sees less than all of an exchange");

    let (seen, wire) = (&report.statements.latency, Latencies::of(wire));
    let mut off = Vec::new();
    for (name, at, seen) in [("p50", 0.5, seen.p50), ("p90", 0.9, seen.p90), ("p99", 0.99, seen.p99)] {
        let expected = wire.quantile(at);
        let tolerance = expected * 3 / 100 + 10_000;
        println!(
            "{name}: pgstrobe {seen} ns, wire {expected} ns: {:+.2} %",
            (seen as f64 / expected as f64 - 1.0) * 100.0
        );
        if seen.abs_diff(expected) > tolerance {
            off.push(format!("{name}: {seen} ns, expected {expected} ± {tolerance} ns"));
        }
    }
    assert!(off.is_empty(), "{off:?}");
}

/// One may be woken late, as the server's own clock has it.
#[test]
fn a_sleep_reads_what_it_slept() {
    let cluster = quiet_with(&["log_duration = on"]);
    for boundary in ["socket", "uprobe"] {
        let from = log_length(&cluster);
        let profile = Profile::start(&cluster, &["--boundary", boundary]);
        for _ in 0..4 {
            psql(&cluster, "SELECT pg_sleep(0.25)");
        }
        let report = profile.stop();
        let sleeps = queries(&report, "pg_sleep");
        assert_eq!(sleeps.iter().map(|query| query.calls).sum::<u64>(), 4, "{boundary}");
        let logged = server_durations(&cluster, from);
        let logged = [0.0, 0.5, 1.0].map(|at| logged.quantile(at));
        for hist in sleeps.iter().map(|query| &query.latency) {
            let seen = [hist.min, hist.p50, hist.max];
            println!("{boundary}: {seen:?} ns, the server's own {logged:?} ns");
            let near = |ns: u64| ns.abs_diff(250_000_000) <= 2_500_000;
            assert!(near(seen[0]) && near(seen[1]), "{seen:?} ns for 250 ms, {boundary}");
            for (seen, logged) in seen.iter().zip(logged) {
                assert!(seen.abs_diff(logged) <= 2_500_000, "{seen} ns, the server's own {logged} ns, {boundary}");
            }
        }
    }
}
