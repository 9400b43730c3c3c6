//! Files have the names of their relations, as the server itself says (`pg_relation_filenode()`), also after the relation
//! was rewritten, before any checkpoint, and in tablespaces.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::time::{Duration, Instant};

use pgstrobe::postgres::catalog::{Catalog, Dsn};
use pgstrobe::postgres::cluster::discover;
use pgstrobe::postgres::layout::Layout;
use pgstrobe::postgres::server;
use pgstrobe_tests::*;

/// Rewrites a table with its index and TOAST table in all the ways there are, in statements of their own.
const REWRITES: [&str; 6] = [
    "TRUNCATE \"Sales\".\"Orders\"",
    "INSERT INTO \"Sales\".\"Orders\" (note) SELECT repeat(md5(i::text), 99) FROM generate_series(1, 200) i",
    "VACUUM FULL \"Sales\".\"Orders\"",
    "REINDEX TABLE \"Sales\".\"Orders\"",
    "CLUSTER \"Sales\".\"Orders\" USING \"Orders_pkey\"",
    "ALTER TABLE \"Sales\".\"Orders\" ALTER COLUMN id TYPE bigint",
];

/// Database, tablespace and file number, with schema and name: of a TOAST table and its index, those of their owner.
type Files = BTreeMap<(u32, u32, u32), (String, String)>;

/// The files of every relation of a database, by the server's word.
fn files(cluster: &Cluster, database: &str) -> Files {
    let sql = "SELECT CASE WHEN c.relisshared THEN 0 ELSE d.oid END, \
        CASE WHEN c.reltablespace = 0 THEN d.dattablespace ELSE c.reltablespace END, pg_relation_filenode(c.oid), \
        CASE WHEN o.oid IS NULL THEN n.nspname ELSE o.relnamespace::regnamespace::text END, \
        coalesce(o.relname, c.relname), c.relname \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_database d ON datname = current_database() \
        LEFT JOIN pg_index i ON i.indexrelid = c.oid AND c.relnamespace = 99 \
        LEFT JOIN pg_class o ON o.reltoastrelid = coalesce(i.indrelid, c.oid) \
        WHERE pg_relation_filenode(c.oid) IS NOT NULL";
    let output = cluster.client("psql").args(["-X", "-q", "-A", "-t", "-c", sql, database]).output().expect("psql");
    assert!(output.status.success(), "{output:?}");
    let rows = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = |line: &str| {
        let words: Vec<&str> = line.split('|').collect();
        let number = |i: usize| words[i].parse().unwrap_or_else(|_| panic!("{line}"));
        let unquoted = words[3].trim_matches('"').to_string();
        ((number(0), number(1), number(2)), (unquoted, words[4].to_string()))
    };
    rows.lines().map(row).collect()
}

/// What is wrong with the names of these files.
fn wrong(catalog: &mut Catalog, files: &Files) -> Vec<String> {
    let mut wrong = Vec::new();
    for ((database, tablespace, filenode), expected) in files {
        let name = catalog.name(*database, *tablespace, *filenode);
        if name.as_ref().map(|name| (&name.schema, &name.relation)) != Some((&expected.0, &expected.1)) {
            wrong.push(format!("{database}/{tablespace}/{filenode}: {expected:?}, not {name:?}"));
        }
    }
    wrong
}

fn assert_named(catalog: &mut Catalog, files: &Files, when: &str) {
    catalog.hurry();
    let wrong = wrong(catalog, files);
    assert!(wrong.is_empty(), "{when}: {} of {} files: {wrong:#?}", wrong.len(), files.len());
}

fn server_of(cluster: &Cluster) -> server::Server {
    let found = discover().clusters.into_iter().find(|found| found.postmaster_pid == cluster.pid());
    server::Server::open(found.expect("the server")).expect("its executable")
}

fn prepare(cluster: &Cluster) {
    cluster.pgbench_init(1).expect("pgbench -i");
    psql(cluster, "CREATE SCHEMA \"Sales\"");
    psql(cluster, "CREATE TABLE \"Sales\".\"Orders\" (id serial PRIMARY KEY, note text)");
    psql(cluster, REWRITES[1]);
    psql(cluster, "CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM \"Sales\".\"Orders\"");
    psql(cluster, "CREATE UNLOGGED TABLE notes (a int)");
}

every_build!(check);

fn check(build: Build) {
    match build.provide() {
        Ok(server) => named(&cluster(server.with(QUIET))),
        Err(error) => skip!("{}: {error:#}", build.name),
    }
}

/// No checkpoint comes in between: what is new is in the buffer pool alone.
fn named(cluster: &Cluster) {
    prepare(cluster);
    let server = server_of(cluster);
    let mut catalog = Catalog::open(&server, None);
    let mut seen = files(cluster, "postgres");
    assert!(seen.len() > 250, "{}", seen.len());
    assert_named(&mut catalog, &seen, "at the beginning");
    assert_eq!(catalog.notes(0), [""; 0]);

    for sql in REWRITES {
        psql(cluster, sql);
        let before = seen.len();
        seen.extend(files(cluster, "postgres"));
        assert!(seen.len() > before || sql.starts_with("INSERT"), "{sql} made no file");
        // Those that are gone as well.
        assert_named(&mut catalog, &seen, sql);
    }
    for sql in
        ["VACUUM FULL pg_class", "VACUUM FULL pg_namespace", "VACUUM FULL pg_database", "CREATE TABLE later (a int)"]
    {
        psql(cluster, sql);
        seen.extend(files(cluster, "postgres"));
        assert_named(&mut catalog, &seen, sql);
    }
    psql(cluster, "ALTER TABLE later RENAME TO latest");
    psql(cluster, "CREATE TABLE one_more (a int)");
    seen.extend(files(cluster, "postgres"));
    // A known name changes with the next look, which is for a file that is not known.
    catalog.hurry();
    let _ = wrong(&mut catalog, &seen);
    assert_named(&mut catalog, &seen, "another name");
    psql(cluster, "DROP TABLE \"Sales\".\"Orders\" CASCADE");
    assert_named(&mut catalog, &seen, "a table that is gone");

    // From the files alone, as they are after a checkpoint.
    psql(cluster, "CHECKPOINT");
    let mut server = server_of(cluster);
    let layout = *server.layout.expect("a layout");
    server.layout = Some(Box::leak(Box::new(Layout { buffer_size: 0, ..layout })));
    let mut catalog = Catalog::open(&server, None);
    assert!(catalog.notes(1)[0].contains("the server's buffer pool cannot be found"), "{:?}", catalog.notes(1));
    assert_named(&mut catalog, &files(cluster, "postgres"), "in the files");
}

#[test]
fn databases_and_tables_in_tablespaces() {
    let cluster = quiet_cluster();
    let place = cluster.dir.join("fast");
    fs::create_dir(&place).expect("a directory");
    let (uid, gid) = unprivileged_user().expect("a user");
    chown(&place, Some(uid), Some(gid)).expect("its owner");
    psql(&cluster, &format!("CREATE TABLESPACE fast LOCATION '{}'", place.display()));
    psql(&cluster, "CREATE TABLE far (a int PRIMARY KEY) TABLESPACE fast");
    psql(&cluster, "CREATE DATABASE shop TABLESPACE fast");
    let mut catalog = Catalog::open(&server_of(&cluster), None);
    for database in ["postgres", "shop", "template1"] {
        assert_named(&mut catalog, &files(&cluster, database), database);
    }
    psql(&cluster, "ALTER TABLE far SET TABLESPACE pg_default");
    assert_named(&mut catalog, &files(&cluster, "postgres"), "moved");

    // Syncs show the path behind the link, which does not name the tablespace.
    psql(&cluster, "ALTER TABLE far SET TABLESPACE fast");
    let profile = Profile::start(&cluster, &[]);
    psql(&cluster, "INSERT INTO far SELECT generate_series(1, 1000)");
    psql(&cluster, "CHECKPOINT");
    let report = profile.stop();
    assert!(relation_rows(&report).any(|row| row.relation.as_deref() == Some("public.far")), "{:#?}", report.fsync.by);
}

fn relation_rows(report: &Report) -> impl Iterator<Item = &FsyncBy> {
    let kinds = ["relation", "fsm", "vm", "init"];
    report.fsync.by.iter().filter(move |row| kinds.contains(&row.file_kind.as_str()))
}

/// The number in the name of a relation's file below `base/DATABASE`.
fn filenode(file: &str) -> u32 {
    let name = file.rsplit('/').next().expect("a name");
    name.split(['.', '_']).next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{file}"))
}

#[test]
fn syncs_have_the_names_of_their_relations() {
    let cluster = quiet_cluster();
    prepare(&cluster);
    psql(&cluster, "CHECKPOINT");
    let oid: u32 = psql(&cluster, "SELECT oid FROM pg_database WHERE datname = 'postgres'").parse().expect("an oid");
    let profile = Profile::start(&cluster, &[]);
    let mut seen = files(&cluster, "postgres");
    let args = ["-n", "-b", "tpcb-like", "-c", "2", "-t", "50"];
    let output = cluster.client("pgbench").args(args).output().expect("pgbench");
    assert!(output.status.success(), "{output:?}");
    psql(&cluster, "CHECKPOINT");
    for sql in REWRITES {
        psql(&cluster, sql);
        seen.extend(files(&cluster, "postgres"));
        psql(&cluster, "CHECKPOINT");
        // A file that comes and goes between two ticks may stay without a name.
        std::thread::sleep(Duration::from_millis(300));
    }
    psql(&cluster, "CREATE TABLE made_meanwhile AS SELECT 1");
    seen.extend(files(&cluster, "postgres"));
    psql(&cluster, "CHECKPOINT");
    let report = profile.stop();

    let mut named: BTreeMap<String, u64> = BTreeMap::new();
    for row in relation_rows(&report) {
        let name = row.relation.clone().unwrap_or_else(|| panic!("no name for {}", row.file));
        let prefix = format!("base/{oid}/");
        let key = (row.file.starts_with(&prefix), filenode(&row.file));
        let expected = seen.iter().find(|((database, _, node), _)| (*database == oid, *node) == key);
        if let Some((_, (schema, relation))) = expected {
            let shown = name.replace('"', "");
            assert!(shown.ends_with(&format!("{schema}.{relation}")), "{}: {shown}, not {schema}.{relation}", row.file);
        } else {
            // A file of a rewrite that was gone before the server could be asked.
            assert!(name.contains("Orders") || row.file.starts_with("global/"), "{}: {name}", row.file);
        }
        *named.entry(name).or_default() += row.count;
    }
    for name in [
        "public.pgbench_accounts",
        "public.pgbench_tellers",
        "public.pgbench_history",
        "public.pgbench_accounts_pkey",
        "\"Sales\".\"Orders\"",
        "\"Sales\".\"Orders_pkey\"",
        "toast of \"Sales\".\"Orders\"",
        "toast index of \"Sales\".\"Orders\"",
        "public.made_meanwhile",
        "pg_catalog.pg_class",
    ] {
        assert!(named.contains_key(name), "{name} is not among {named:#?}");
    }
    let other: Vec<_> = report.fsync.by.iter().filter(|row| row.file_kind == "wal").collect();
    assert!(!other.is_empty() && other.iter().all(|row| row.relation.is_none()));
    assert_nothing_lost(&report);
}

#[test]
fn the_server_is_asked_where_nothing_else_tells() {
    let cluster = quiet_cluster();
    prepare(&cluster);
    psql(&cluster, "CREATE DATABASE shop");
    let mut server = server_of(&cluster);
    // As if it were of a version to come.
    server.layout = None;
    let text = format!("host={} port={} user=postgres dbname=postgres", cluster.dir.display(), cluster.port);
    let dsn: Dsn = text.parse().expect("a connection string");
    let mut catalog = Catalog::open(&server, Some(&dsn));
    for database in ["postgres", "shop"] {
        let files = files(&cluster, database);
        let end = Instant::now() + Duration::from_secs(15);
        while !wrong(&mut catalog, &files).is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            catalog.hear();
        }
        let wrong = wrong(&mut catalog, &files);
        assert!(wrong.is_empty(), "{database}: {wrong:#?}\n{:?}", catalog.notes(1));
    }
    let notes = catalog.notes(1);
    assert!(notes.iter().any(|note| note.contains("asked the server for the names of")), "{notes:?}");
    let connections = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_stat_activity \
                       WHERE application_name = 'pgstrobe'";
    assert_eq!(psql(&cluster, connections), "postgres shop");

    // Nothing is asked that is known without.
    drop(catalog);
    wait_until("its connections end", || psql(&cluster, connections).is_empty());
    let profile = Profile::start(&cluster, &["--dsn", &text]);
    psql(&cluster, "UPDATE pgbench_branches SET bbalance = 0");
    psql(&cluster, "CHECKPOINT");
    assert_eq!(psql(&cluster, connections), "");
    let report = profile.stop();
    assert!(relation_rows(&report).any(|row| row.relation.as_deref() == Some("public.pgbench_branches")));
    let refused = refused(pgstrobe().args(["report", "-d", "1", "--dsn", "nonsense"]));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}
