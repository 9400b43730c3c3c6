//! Every build of every supported version: the same counts, times, names and roles on each of them, by each way in
//! which statements can be taken.

use std::collections::BTreeMap;

use pgstrobe_tests::*;

const MODES: [&str; 3] = ["simple", "extended", "prepared"];
const CLIENTS: u64 = 2;
const EACH: u64 = 100;
const COMMITS: u64 = 20;
/// So many at least, and on a busy machine more, until one of them was disturbed so little that its bracket is narrow.
const TIMED: usize = 60;
const TIMED_AT_MOST: usize = 3000;
const SLEEPS: u64 = 2;
const SLEEP: &str = "SELECT pg_sleep(0.25)";
const SLEEP_NS: u64 = 250_000_000;
/// Long enough for the way to the client to be small against it: some milliseconds, of which it says itself how many passed
/// between its first row and its last, in microseconds.
const HEAVY: &str = "SELECT (extract(epoch FROM max(at) - min(at)) * 1000000)::int8 \
                     FROM (SELECT clock_timestamp() AS at FROM (SELECT generate_series(1, 40000)) AS rows) AS looks";

every_build!(check);

/// The one that enters the functions of messages.
#[test]
fn made_15() {
    check(Build::named("made-15").expect("a build"));
}

/// A server of somebody's own: a fork, one made with other options.
#[test]
fn own() {
    match Build::own() {
        Some(build) => check(build.expect("the server that PGSTROBE_OWN_BUILD names")),
        None => skip!("PGSTROBE_OWN_BUILD names no directory with a server of your own"),
    }
}

fn check(build: Build) {
    if !installed("readelf") {
        Support::skipped(build, "readelf is not installed");
        skip!("{}: readelf is not installed", build.name);
    }
    match build.provide() {
        Ok(server) => works(build, &server),
        Err(error) => {
            Support::skipped(build, &format!("{error:#}"));
            skip!("{}: {error:#}", build.name);
        }
    }
}

/// One way to take statements: arguments, and the hooks that the probe `statement-entry` must then have.
struct Way {
    name: &'static str,
    args: &'static [&'static str],
    hooks: &'static [&'static str],
}

const FUNCTIONS: [&str; 4] = ["exec_simple_query", "exec_parse_message", "exec_bind_message", "exec_execute_message"];

const SOCKET: Way = Way { name: "socket", args: &["--boundary", "socket"], hooks: &[] };
const BY_FUNCTIONS: Way = Way {
    name: "functions",
    args: &["--boundary", "uprobe"],
    hooks: &[
        "uprobe/exec_simple_query",
        "uprobe/exec_parse_message",
        "uprobe/exec_bind_message",
        "uprobe/exec_execute_message",
    ],
};
const BY_USDT: Way = Way {
    name: "usdt",
    args: &["--boundary", "uprobe"],
    hooks: &["uprobe/usdt:query__start", "uprobe/usdt:query__parse__start", "uprobe/usdt:query__execute__start"],
};
/// What is left where neither is there.
const BY_ACTIVITY: Way =
    Way { name: "activity", args: &["--boundary", "uprobe"], hooks: &["uprobe/pgstat_report_activity"] };
const BY_ACTIVITY_ALONE: Way = Way { args: &["--boundary", "uprobe", "--only-way", "activity"], ..BY_ACTIVITY };

fn ways(build: Build, cluster: &Cluster) -> Vec<Way> {
    match build.kind {
        Kind::Usdt => vec![SOCKET, BY_USDT, BY_ACTIVITY_ALONE],
        Kind::Made => vec![SOCKET, BY_FUNCTIONS, BY_ACTIVITY_ALONE],
        _ if names_functions(cluster.pid(), &FUNCTIONS) => vec![SOCKET, BY_FUNCTIONS, BY_ACTIVITY_ALONE],
        Kind::Own if has_static_probes(cluster.pid()) => vec![SOCKET, BY_USDT, BY_ACTIVITY_ALONE],
        Kind::Unstripped | Kind::Own => vec![SOCKET, BY_ACTIVITY],
    }
}

fn works(build: Build, server: &Server) {
    let mut support = Support::of(build, server);
    let cluster = prepared(build, server);
    // Open before the profile begins: its memory proves the layout.
    let before = Client::connect(&cluster, "before");
    let expected_id = query_id(&cluster);
    for Way { name: way, args, hooks } in ways(build, &cluster) {
        let from = std::fs::metadata(cluster.log_path()).expect("log").len();
        let profile = Profile::start(&cluster, args);
        let hooks: Vec<String> = hooks.iter().map(|hook| hook.to_string()).collect();
        let traps = places(cluster.pid(), &hooks);
        for trap in &traps {
            assert!(trap.is_trapped(), "{} is attached", trap.name);
            assert!(trap.semaphore_is(true), "{}: its semaphore", trap.name);
        }
        let (timed_by, slept_by) = load(&cluster);
        let types = backend_types(&cluster);
        let all = cluster.pids();
        let report = profile.stop();
        let logged = logged_durations(&cluster, from);
        assert_eq!(logged.len(), timed_by.len() + slept_by.len(), "{way}: durations the server logged");
        let (short, sleeps) = logged.split_at(timed_by.len());

        let entry = report.coverage.probes.iter().find(|probe| probe.name == "statement-entry").expect("the probe");
        assert_eq!(entry.hooks, hooks, "{way}: {:?}", entry.reason);
        assert_eq!(report.clusters[0].boundary, if way == "socket" { "socket" } else { "uprobe" });
        let doubts: Vec<_> = report.coverage.notes.iter().filter(|note| note.contains(" is not ")).collect();
        assert!(doubts.is_empty(), "{way}: every field is confirmed: {doubts:?}");
        assert_nothing_lost(&report);
        support.passed("nothing lost", way);
        counted(&report, timed_by.len() as u64, way);
        support.passed("counts", way);
        named(&report, expected_id.as_deref());
        support.passed("names", way);
        slept(&report, &slept_by, sleeps, way);
        timed(&report, &timed_by, short, way);
        support.passed("latency", way);
        synced(&report);
        support.passed("syncs", way);
        roles(build.major, &report, &types, &all);
        support.passed("roles", way);
        for trap in &traps {
            assert!(!trap.is_trapped(), "{} is still there", trap.name);
            assert!(trap.semaphore_is(false), "{}: its semaphore", trap.name);
        }
        support.passed("no trace", way);
    }
    drop(before);
}

/// A cluster with every background process its version has without extensions and replication.
fn prepared(build: Build, server: &Server) -> Cluster {
    let mut settings = [QUIET, &["archive_mode = on", "archive_command = 'true'"]].concat();
    settings.extend(["autovacuum = on", "autovacuum_naptime = 1h"]);
    if build.major >= 14 {
        settings.push("compute_query_id = on");
    }
    if build.major >= 17 {
        settings.push("summarize_wal = on");
    }
    let cluster = cluster(server.with(&settings));
    for sql in [
        "CREATE ROLE app LOGIN",
        "CREATE ROLE timed LOGIN",
        "ALTER ROLE timed SET log_duration = on",
        "CREATE DATABASE shop",
        "CREATE TABLE t (a int)",
    ] {
        psql(&cluster, sql);
    }
    cluster.pgbench_init(1).expect("pgbench -i");
    psql_in(
        &cluster,
        "shop",
        "CREATE TABLE pgbench_accounts AS SELECT i AS aid, 0 AS abalance FROM \
        generate_series(1, 1000) i; ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid); \
        GRANT SELECT ON pgbench_accounts TO app; VACUUM ANALYZE pgbench_accounts",
    );
    cluster
}

fn psql_in(cluster: &Cluster, database: &str, sql: &str) -> String {
    sql.split("; ")
        .map(|sql| {
            let output = cluster.client("psql").args(["-X", "-q", "-A", "-t", "-c", sql, database]).output();
            let output = output.expect("psql");
            assert!(output.status.success(), "{sql}: {output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
        .collect()
}

/// The server's own word for the class of the select; none where it computes none.
fn query_id(cluster: &Cluster) -> Option<String> {
    let plan = psql_in(cluster, "shop", "EXPLAIN (VERBOSE) SELECT abalance FROM pgbench_accounts WHERE aid = 7");
    plan.lines().find_map(|line| line.trim().strip_prefix("Query Identifier: ").map(str::to_string))
}

/// The load; the exchanges of the user `timed`, and its sleeps.
fn load(cluster: &Cluster) -> (Vec<Exchange>, Vec<Exchange>) {
    for mode in MODES {
        let script = "\\set aid random(1, 1000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n";
        let run = Pgbench::new(cluster, CLIENTS, EACH).script(script).name(mode);
        run.args(&["-M", mode, "-U", "app", "shop"]).run();
    }
    Pgbench::new(cluster, 1, COMMITS).script("INSERT INTO t VALUES (1);\n").name("writer").run();
    let mut timed = PatientClient::connect(cluster, "timed", "timed");
    let mut heavy: Vec<Exchange> = Vec::new();
    let narrow = |heavy: &[Exchange]| {
        let (inside, outside) = (heavy.iter().map(itself).min(), heavy.iter().map(Exchange::around).min());
        inside.zip(outside).is_some_and(|(inside, outside)| outside < inside + inside / 2)
    };
    while heavy.len() < TIMED || heavy.len() < TIMED_AT_MOST && !narrow(&heavy) {
        heavy.push(timed.ask(HEAVY));
    }
    (heavy, (0..SLEEPS).map(|_| timed.ask(SLEEP)).collect())
}

/// What the statement says of its own time.
fn itself(asked: &Exchange) -> u64 {
    asked.value.parse::<u64>().expect("microseconds") * 1000
}

fn counted(report: &Report, timed: u64, way: &str) {
    // pgbench prepares its command once per connection, in an exchange of its own.
    let expected: BTreeMap<&str, u64> = [
        ("simple", CLIENTS * EACH),
        ("extended", CLIENTS * EACH),
        ("prepared", CLIENTS * (EACH + 1)),
        ("writer", COMMITS),
        ("timed", timed + SLEEPS),
        // The question for the roles.
        ("psql", 1),
        ("before", 0),
    ]
    .into();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for backend in report.backends.iter().filter(|backend| backend.role == "client backend") {
        *seen.entry(backend.application_name.as_deref().unwrap_or("?")).or_default() += backend.statements;
    }
    assert_eq!(seen, expected, "{way}");
    assert_eq!(report.statements.count, expected.values().sum::<u64>(), "{way}");
    assert_eq!(report.statements.errors, 0, "{way}");
}

fn named(report: &Report, expected_id: Option<&str>) {
    for backend in report.backends.iter().filter(|backend| backend.role == "client backend") {
        let owner = (backend.database.as_deref(), backend.user.as_deref());
        let expected = match backend.application_name.as_deref() {
            Some("simple" | "extended" | "prepared") => ("shop", "app"),
            Some("timed") => ("postgres", "timed"),
            _ => ("postgres", "postgres"),
        };
        assert_eq!(owner, (Some(expected.0), Some(expected.1)), "{:?}", backend.application_name);
    }
    let selects = queries(report, "SELECT abalance FROM pgbench_accounts WHERE aid = $1");
    let calls: u64 = selects.iter().map(|query| query.calls).sum();
    // The exchange that only prepares the statement belongs to its class, or to none.
    assert!((3 * CLIENTS * EACH..=3 * CLIENTS * EACH + CLIENTS).contains(&calls), "{calls} selects");
    for query in &selects {
        assert_eq!((query.database.as_deref(), query.user.as_deref()), (Some("shop"), Some("app")));
        assert_eq!(query.query_id_source, if expected_id.is_some() { "server" } else { "fingerprint" });
    }
    if let Some(id) = expected_id {
        let same: u64 = selects.iter().filter(|query| query.query_id == id).map(|query| query.calls).sum();
        assert_eq!(same, CLIENTS * EACH, "selects of the server's query id {id}");
    }
}

/// The server slept 250 ms, of which nothing but its own work and waits for a CPU may be missing; what its clock says in its
/// log holds the sleep.
fn slept(report: &Report, asked: &[Exchange], logged: &[u64], way: &str) {
    let [sleeps] = queries(report, "pg_sleep")[..] else { panic!("{way}: one class of sleeps") };
    let asleep = part(&sleeps.ledger, "blocked", Some("PgSleep"));
    let awake = ["cpu", "interrupted", "runnable"].iter().map(|state| part(&sleeps.ledger, state, None)).sum::<u64>();
    let most: u64 = logged.iter().sum();
    println!("{way}: asleep for {asleep} ns and awake for {awake} ns in {most} ns by the server");
    assert!(asleep + awake >= SLEEPS * SLEEP_NS && asleep <= most + SLEEPS * 1000, "{way}: asleep for {asleep} ns");
    let bracket = bracket(asked, logged.iter().copied(), |_| SLEEP_NS, way);
    bracket.assert_holds(&format!("{way}: a sleep"), &sleeps.latency);
}

/// What a statement holds and what holds it. By the socket it begins before the server reads its clock for the log; with a
/// trap the first that is certain is what the statement itself did. It ends when the answer has left, after both.
fn bracket(
    asked: &[Exchange],
    logged: impl Iterator<Item = u64>,
    itself: impl Fn(&Exchange) -> u64,
    way: &str,
) -> Bracket {
    let inside = |(asked, logged): (&Exchange, u64)| {
        let inside = if way == "socket" { logged } else { itself(asked) };
        // By a clock that may be set.
        (inside.saturating_sub(asked.set_by), asked.around())
    };
    Bracket::of(asked.iter().zip(logged).map(inside))
}

fn part(ledger: &Ledger, state: &str, event: Option<&str>) -> u64 {
    let parts = ledger.parts.iter().filter(|part| part.state == state);
    parts.filter(|part| event.is_none() || part.wait_event.as_deref() == event).map(|part| part.ns).sum()
}

/// See [`bracket`].
fn timed(report: &Report, asked: &[Exchange], logged: &[u64], way: &str) {
    let [heavy] = queries(report, "generate_series")[..] else { panic!("{way}: one class of heavy ones") };
    let bracket = bracket(asked, logged.iter().copied(), itself, way);
    bracket.assert_holds(way, &heavy.latency);
    bracket.assert_sharp(way);
}

fn synced(report: &Report) {
    let writer = report.backends.iter().find(|backend| backend.application_name.as_deref() == Some("writer"));
    let writer = writer.expect("the writer").pid;
    let rows: Vec<_> = report.fsync.by.iter().filter(|row| row.pid == writer).collect();
    let wal = |row: &&&FsyncBy| {
        (row.role.as_str(), row.file_kind.as_str(), row.syscall.as_str()) == ("client backend", "wal", "fdatasync")
            && row.file.starts_with("pg_wal/0")
            && row.file.len() == "pg_wal/".len() + 24
    };
    assert_eq!(rows.iter().filter(wal).map(|row| row.count).sum::<u64>(), COMMITS, "{rows:?}");
    assert_eq!(report.fsync.errors, 0);
}

fn roles(major: u32, report: &Report, types: &BTreeMap<u32, String>, all: &[u32]) {
    let by_pid: BTreeMap<u32, &str> =
        report.backends.iter().map(|backend| (backend.pid, backend.role.as_str())).collect();
    for (pid, kind) in types {
        assert_eq!(by_pid.get(pid), Some(&kind.as_str()), "process {pid}");
    }
    for pid in all {
        assert!(by_pid.contains_key(pid), "process {pid} of the server is not in the report");
    }
    assert!(report.roles.iter().all(|role| role.role != "unknown"), "{by_pid:?}");
    let mut expected = vec![
        "archiver",
        "autovacuum launcher",
        "background writer",
        "checkpointer",
        "logical replication launcher",
        "postmaster",
        "walwriter",
    ];
    if major <= 14 {
        expected.push("stats collector");
    }
    if major >= 17 {
        expected.push("walsummarizer");
    }
    if major >= 18 {
        expected.push("io worker");
    }
    expected.push("client backend");
    expected.sort_unstable();
    let seen: Vec<&str> = report.roles.iter().map(|role| role.role.as_str()).collect();
    assert_eq!(seen, expected);
}
