//! Latencies are the server's share of what the client measured.
//!
//! How the share is taken: statement by statement, on the wire, by a tap that shares no hook with pgstrobe. A statement
//! begins after its query is on the wire, and no later than the time that the server itself gives it (`statement_timestamp`);
//! it ends after its answer is on the wire, and no later than the backend is seen asleep again. So each lies between two
//! durations, whatever keeps client, server or witness off the CPU, and on a machine that does nothing else the two are
//! some hundred microseconds apart. The client's own clock confirms the tap.

use pgstrobe_tests::*;

const STATEMENTS: usize = 1000;
/// Long enough for what is between the witnesses' moments to be a small part of it. The value is in microseconds.
const QUERY: &str = "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::int8 FROM generate_series(1, 20000) \
                     HAVING count(*) > 0";
const SLEEPS: usize = 4;
const SLEEP_NS: u64 = 250_000_000;

#[test]
fn percentiles_agree_with_the_wire() {
    let cluster = cluster(ClusterOptions { tcp: true, ..ClusterOptions::with(QUIET) });
    let profile = Profile::start(&cluster, &[]);
    let mut client = PatientClient::over_tcp(&cluster);
    let tap = Wire::tap(cluster.port);
    let asked: Vec<Exchange> = (0..STATEMENTS).map(|_| client.ask(QUERY)).collect();
    let wire = tap.exchanges();
    drop(client);
    let report = profile.stop();
    assert_eq!((wire.len(), report.statements.count), (STATEMENTS, STATEMENTS as u64));
    assert_nothing_lost(&report);

    let set_by: u64 = asked.iter().map(|client| client.set_by).sum();
    println!("the clock was set by {set_by} ns in all");
    let shares = asked
        .iter()
        .zip(&wire)
        .map(|(client, wire)| (wire.answered - wire.asked, client.answered - client.sent + client.set_by));
    let client = Bracket::of(shares);
    client.assert_sharp("by the client's clock, the wire");

    let moments = asked.iter().zip(&wire).map(|(client, wire)| {
        // Cut to a microsecond.
        let begun = client.value.parse::<u64>().expect("a time") * 1000 + 1000;
        let inside = wire.answered.saturating_sub(begun + client.set_by);
        (inside, client.at_rest - client.monotonic(wire.asked) + client.set_by)
    });
    let bracket = Bracket::of(moments);
    bracket.assert_holds("on the wire", &report.statements.latency);
    bracket.assert_sharp("on the wire");
}

/// One may be woken late, as the server's own clock has it.
#[test]
fn a_sleep_reads_what_it_slept() {
    let cluster = quiet_with(&["log_duration = on"]);
    for boundary in ["socket", "uprobe"] {
        let from = log_length(&cluster);
        let profile = Profile::start(&cluster, &["--boundary", boundary]);
        let mut client = PatientClient::connect(&cluster, "postgres", "sleeper");
        let asked: Vec<Exchange> = (0..SLEEPS).map(|_| client.ask("SELECT pg_sleep(0.25)")).collect();
        drop(client);
        let report = profile.stop();
        let logged = logged_durations(&cluster, from);
        assert_eq!(logged.len(), SLEEPS, "{boundary}");
        // The trap is passed after the server has read its clock, and before it sleeps.
        let inside = logged.iter().map(|logged| if boundary == "socket" { *logged } else { SLEEP_NS });
        let bracket = Bracket::of(inside.zip(asked.iter().map(Exchange::around)));
        let sleeps = queries(&report, "pg_sleep");
        assert_eq!(sleeps.len(), 1, "{boundary}");
        bracket.assert_holds(boundary, &sleeps[0].latency);
        bracket.assert_sharp(boundary);
    }
}
