//! The roles that only replication and parallel queries bring, as the server itself calls them: those that live long,
//! those that begin during the profile, and those that are gone before anybody could look.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgstrobe_tests::*;

/// The machine's own server where there is no build of the name.
fn with(build: Option<&str>, settings: &[&str]) -> Result<ClusterOptions, String> {
    let Some(build) = build else { return Ok(ClusterOptions::with(settings)) };
    let server = Build::named(build).expect("a build").provide();
    server.map(|server| server.with(settings)).map_err(|error| format!("{build}: {error:#}"))
}

macro_rules! on_builds {
    ($($module:ident: $build:expr;)+) => {$(
        mod $module {
            use super::*;

            #[test]
            fn replication() {
                if let Err(reason) = super::replication($build) {
                    skip!("{reason}");
                }
            }

            #[test]
            fn logical_replication() {
                if let Err(reason) = super::logical_replication($build) {
                    skip!("{reason}");
                }
            }

            #[test]
            fn parallel_query() {
                if let Err(reason) = super::parallel_query($build) {
                    skip!("{reason}");
                }
            }

            #[test]
            fn autovacuum_and_logger() {
                if let Err(reason) = super::autovacuum_and_logger($build) {
                    skip!("{reason}");
                }
            }
        }
    )+};
}

on_builds! {
    host: None;
    npm_18: Some("npm-18");
    debian_13: Some("debian-13");
    debian_18: Some("debian-18");
}

/// Every process that the server names is in the report under that name, and nothing there is unknown.
fn assert_roles(cluster: &Cluster, report: &Report, types: &BTreeMap<u32, String>) {
    let seen: BTreeMap<u32, &str> =
        report.backends.iter().map(|backend| (backend.pid, backend.role.as_str())).collect();
    for (pid, kind) in types {
        // The server tells apply, parallel and table synchronisation workers apart, from 16 on also by name.
        let logical = kind.starts_with("logical replication") && kind.ends_with("worker");
        let expected = if logical { "logical replication worker" } else { kind };
        assert_eq!(seen.get(pid), Some(&expected), "process {pid}");
    }
    let known: Vec<u32> = cluster.pids();
    assert!(known.iter().all(|pid| seen.contains_key(pid)), "{known:?}: {seen:?}");
    assert!(!seen.values().any(|role| *role == "unknown"), "{seen:?}");
    assert_nothing_lost(report);
}

fn number(cluster: &Cluster, sql: &str) -> u64 {
    psql(cluster, sql).parse().unwrap_or(0)
}

/// Backends of a role.
fn of_role(report: &Report, role: &str) -> BTreeSet<u32> {
    report.backends.iter().filter(|backend| backend.role == role).map(|backend| backend.pid).collect()
}

fn replication(build: Option<&str>) -> Result<(), String> {
    let settings = [QUIET, &["wal_level = logical", "wal_keep_size = 64MB"]].concat();
    let mut primary = cluster(ClusterOptions { tcp: true, ..with(build, &settings)? });
    psql(&primary, "CREATE TABLE t (a int)");
    psql(&primary, "CREATE ROLE replicator LOGIN REPLICATION SUPERUSER");
    psql(&primary, "SELECT pg_create_physical_replication_slot('standby', true)");
    let major: u32 = psql(&primary, "SHOW server_version_num").parse::<u32>().expect("a version") / 10_000;
    let conninfo = format!(
        "primary_conninfo = 'host=127.0.0.1 port={} user=replicator dbname=postgres application_name=standby'",
        primary.port
    );
    let mut settings = [QUIET, &[&conninfo, "wal_level = logical", "wal_retrieve_retry_interval = 100ms"]].concat();
    settings.extend(["primary_slot_name = 'standby'", "hot_standby_feedback = on"]);
    if major >= 17 {
        settings.push("sync_replication_slots = on");
    }
    primary.stop();
    let options = ClusterOptions { standby_of: Some(primary.data.clone()), ..with(build, &settings)? };
    let standby = cluster(ClusterOptions { tcp: true, ..options });
    primary.launch().expect("the primary again");
    let streaming = || psql(&primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1";
    wait_until("the standby streams", streaming);
    let receiver = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
    wait_until("the standby says so", || psql(&standby, receiver) == "1");

    // On the primary: the walsender that is there, and the one that comes after its end.
    let before: BTreeMap<u32, String> = backend_types(&primary);
    assert!(before.values().any(|kind| kind == "walsender"), "{before:?}");
    let profile = Profile::start(&primary, &[]);
    Pgbench::new(&primary, 1, 50).script("INSERT INTO t VALUES (1);\n").run();
    psql(&primary, "SELECT pg_terminate_backend(pid) FROM pg_stat_replication");
    wait_until("the standby is gone", || backend_types(&primary) != before);
    wait_until("the standby streams again", streaming);
    Pgbench::new(&primary, 1, 50).script("INSERT INTO t VALUES (1);\n").run();
    let types = backend_types(&primary);
    let report = profile.stop();
    assert_roles(&primary, &report, &types);
    let senders: BTreeSet<u32> =
        before.iter().chain(&types).filter(|(_, kind)| *kind == "walsender").map(|(pid, _)| *pid).collect();
    assert_eq!(senders.len(), 2, "{before:?} {types:?}");
    assert_eq!(of_role(&report, "walsender"), senders);
    for sender in report.backends.iter().filter(|backend| backend.role == "walsender") {
        assert_eq!(sender.user.as_deref(), Some("replicator"));
        // IDENTIFY_SYSTEM and its like, of the one that began during the profile. The stream itself does not end.
        assert_eq!(sender.statements > 0, !before.contains_key(&sender.pid), "{}", sender.statements);
        assert_eq!(sender.application_name.as_deref(), Some("standby"));
    }
    assert_eq!(calls(&report, "INSERT INTO t"), 100);
    let open: Vec<u32> = report.unfinished.iter().map(|open| open.pid).collect();
    assert_eq!(
        open,
        of_role(&report, "walsender").into_iter().filter(|pid| types.contains_key(pid)).collect::<Vec<_>>()
    );

    // On the standby: who receives, who replays.
    let mut expected = vec!["startup", "walreceiver"];
    if major >= 17 {
        expected.push("slotsync worker");
        wait_until("slots are synchronised", || backend_types(&standby).values().any(|kind| kind == "slotsync worker"));
    }
    let profile = Profile::start(&standby, &[]);
    Pgbench::new(&primary, 1, 50).script("INSERT INTO t VALUES (1);\n").run();
    wait_until("all is replayed", || number(&standby, "SELECT count(*) FROM t") == 150);
    let types = backend_types(&standby);
    let report = profile.stop();
    assert_roles(&standby, &report, &types);
    for role in expected {
        assert_eq!(of_role(&report, role).len(), 1, "{role}: {types:?}");
    }
    let synced = report.fsync.by.iter().find(|row| row.role == "walreceiver" && row.file_kind == "wal");
    assert!(synced.is_some_and(|row| row.count > 0 && row.file.starts_with("pg_wal/0")), "{:?}", report.fsync.by);
    Ok(())
}

fn logical_replication(build: Option<&str>) -> Result<(), String> {
    let settings = [QUIET, &["wal_level = logical", "wal_retrieve_retry_interval = 100ms"]].concat();
    let server = cluster(ClusterOptions { tcp: true, ..with(build, &settings)? });
    let on = |database: &str, sql: &str| {
        let output = server.client("psql").args(["-X", "-q", "-A", "-t", "-c", sql, database]).output().expect("psql");
        assert!(output.status.success(), "{sql}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    };
    on("postgres", "CREATE DATABASE source");
    on("postgres", "CREATE DATABASE target");
    for database in ["source", "target"] {
        on(database, "CREATE TABLE t (a int)");
    }
    on("source", "INSERT INTO t SELECT generate_series(1, 1000)");
    on("source", "CREATE PUBLICATION p FOR TABLE t");
    on("source", "SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    // The workers begin during the profile; the one that copies the table is gone soon.
    let profile = Profile::start(&server, &[]);
    let connection = format!("host=127.0.0.1 port={} dbname=source user=postgres", server.port);
    let options = "create_slot = false, slot_name = 's'";
    on("target", &format!("CREATE SUBSCRIPTION s CONNECTION '{connection}' PUBLICATION p WITH ({options})"));
    wait_until("the first state is copied", || on("target", "SELECT count(*) FROM t") == "1000");
    on("source", "INSERT INTO t SELECT generate_series(1, 1000)");
    wait_until("the rest follows", || on("target", "SELECT count(*) FROM t") == "2000");
    let copied = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r'";
    wait_until("the worker of the copy has ended", || on("target", copied) == "1");
    let types = backend_types(&server);
    let report = profile.stop();
    assert_roles(&server, &report, &types);
    assert_eq!(of_role(&report, "logical replication worker").len(), 2, "one applies, one copied: {types:?}");
    assert!(of_role(&report, "walsender").len() >= 2, "one for each: {types:?}");
    assert_eq!(of_role(&report, "background worker").len(), 0);
    let report = {
        let profile = Profile::start(&server, &[]);
        std::thread::sleep(Duration::from_millis(200));
        profile.stop()
    };
    assert_eq!(of_role(&report, "logical replication worker").len(), 1, "found running");
    assert_eq!(of_role(&report, "walsender").len(), 1, "found running");
    Ok(())
}

fn parallel_query(build: Option<&str>) -> Result<(), String> {
    let settings = [
        "max_parallel_workers_per_gather = 2",
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
        "min_parallel_table_scan_size = 0",
        "parallel_leader_participation = off",
    ];
    let server = cluster(with(build, &[QUIET, &settings].concat())?);
    psql(&server, "CREATE TABLE big AS SELECT generate_series(1, 20000) AS a");
    psql(&server, "ALTER TABLE big SET (parallel_workers = 2)");
    psql(&server, "VACUUM ANALYZE big");
    let profile = Profile::start(&server, &[]);
    let mut leader = Client::connect(&server, "leader");
    let own: u32 = leader.ask("SELECT pg_backend_pid()").parse().expect("a pid");
    let pid = pids_by_own(&server)[&own];
    // Workers of a few milliseconds: gone before pgstrobe looks at them.
    const SHORT: usize = 5;
    for _ in 0..SHORT {
        assert_eq!(leader.ask("SELECT count(*) FROM big"), "20000");
    }
    // Workers that live for a second.
    leader.ask("SELECT count(*) FROM big WHERE pg_sleep(0.0001) IS NOT NULL AND a <= 2000 OR a < 0");
    let plan = leader.ask("EXPLAIN (COSTS OFF) SELECT count(*) FROM big");
    let report = profile.stop();
    assert!(plan.contains("Aggregate"), "{plan}");
    let workers: Vec<_> = report.backends.iter().filter(|backend| backend.role == "parallel worker").collect();
    let roles: BTreeMap<u32, &str> =
        report.backends.iter().map(|backend| (backend.pid, backend.role.as_str())).collect();
    assert_eq!(workers.len(), 2 * (SHORT + 1), "{roles:?}");
    for worker in workers {
        assert_eq!(worker.leader, Some(pid), "{}: the leader by this machine's pid", worker.pid);
        assert_eq!(worker.statements, 0, "its time is its own, the statement is its leader's");
    }
    assert!(!roles.values().any(|role| ["unknown", "background worker"].contains(role)), "{roles:?}");
    assert_nothing_lost(&report);
    Ok(())
}

fn autovacuum_and_logger(build: Option<&str>) -> Result<(), String> {
    let settings = ["autovacuum_naptime = 1s", "autovacuum_vacuum_threshold = 1", "logging_collector = on"];
    let server = cluster(with(build, &settings)?);
    psql(&server, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS a");
    let profile = Profile::start(&server, &[]);
    psql(&server, "DELETE FROM t");
    let vacuumed = "SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 't'";
    wait_until("autovacuum has come", || number(&server, vacuumed) > 0);
    let types = backend_types(&server);
    // One forked as the profile ends would have no name yet.
    psql(&server, "ALTER SYSTEM SET autovacuum = off");
    psql(&server, "SELECT pg_reload_conf()");
    wait_until("autovacuum has gone", || !backend_types(&server).values().any(|kind| kind.starts_with("autovacuum")));
    let report = profile.stop();
    assert_roles(&server, &report, &types);
    assert!(!of_role(&report, "autovacuum worker").is_empty(), "{:?}", report.roles);
    assert_eq!(of_role(&report, "logger").len(), 1);
    Ok(())
}
