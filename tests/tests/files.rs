//! Reads and writes of files are those that strace, the server and the kernel's own accounts of I/O count on the same run.

use std::collections::BTreeMap;

use pgstrobe::report::model::{ClassIo, FileIo, RelationIo};
use pgstrobe_tests::*;

/// Backends whose clients have left are still on their way out, and may read on it.
fn wait_for_backends(cluster: &Cluster) {
    let client =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|t| t.contains("[local]"));
    wait_until("the clients' backends have ended", || !cluster.pids().iter().any(client));
}

/// What the report says of the files below the data directory, by file.
fn by_file(report: &Report) -> BTreeMap<String, FileCalls> {
    let mut files: BTreeMap<String, FileCalls> = BTreeMap::new();
    for row in &report.storage.files.by {
        let calls = files.entry(row.file.clone()).or_default();
        calls.reads += row.io.reads;
        calls.read_bytes += row.io.read_bytes;
        calls.writes += row.io.writes;
        calls.write_bytes += row.io.write_bytes;
        calls.truncates += row.io.truncates;
        calls.failed += row.io.failed;
    }
    files
}

#[test]
fn per_file_as_strace() {
    if !installed("strace") {
        skip!("strace is not installed");
    }
    let cluster = quiet_with(&["shared_buffers = 2MB", "work_mem = 64kB", "min_wal_size = 160MB"]);
    cluster.pgbench_init(1).expect("pgbench -i");
    let witness = StraceFiles::start(&cluster);
    let profile = Profile::start(&cluster, &[]);
    for round in 0..3 {
        let args = ["-n", "-b", "tpcb-like", "-c", "2", "-t", "30"];
        let output = cluster.client("pgbench").args(args).output().expect("pgbench");
        assert!(output.status.success(), "{output:?}");
        psql(&cluster, "SELECT filler FROM pgbench_accounts ORDER BY bid, filler, aid OFFSET 99999");
        psql(&cluster, &format!("CREATE TABLE t{round} AS SELECT * FROM pgbench_accounts LIMIT 20000"));
        // Frees the end of the file, which vacuum cuts off.
        psql(&cluster, &format!("DELETE FROM t{round} WHERE ctid > '(100,0)'"));
        psql(&cluster, &format!("VACUUM t{round}"));
        if round == 1 {
            psql(&cluster, "DROP TABLE t0");
            psql(&cluster, "TRUNCATE t1");
        }
        // A segment that is done with comes back under a new name.
        psql(&cluster, "SELECT pg_switch_wal()");
        psql(&cluster, "CHECKPOINT");
    }
    wait_for_backends(&cluster);
    let report = profile.stop();
    let calls = witness.stop();

    let mut expected: BTreeMap<String, FileCalls> = BTreeMap::new();
    for (file, calls) in calls {
        // Temporary files are kept together.
        let file = if file.contains("pgsql_tmp") { "(all)".to_owned() } else { file };
        let all = expected.entry(file).or_default();
        all.reads += calls.reads;
        all.read_bytes += calls.read_bytes;
        all.writes += calls.writes;
        all.write_bytes += calls.write_bytes;
        all.truncates += calls.truncates;
        all.failed += calls.failed;
    }
    let mut seen = by_file(&report);
    // Such as libraries that a client's library loads; and an entry may hold prefetches or extends alone.
    seen.retain(|file, calls| {
        (cluster.data.join(file).exists() || expected.contains_key(file) || file == "(all)")
            && *calls != FileCalls::default()
    });
    for (file, calls) in &expected {
        assert_eq!(seen.get(file), Some(calls), "{file}");
    }
    assert_eq!(seen, expected);
    let of = |prefix: &str| {
        expected.iter().filter(|(file, _)| file.starts_with(prefix)).map(|(_, calls)| *calls).collect::<Vec<_>>()
    };
    println!("{} files", expected.len());
    assert!(of("base/").iter().any(|calls| calls.truncates > 0), "nothing was truncated");
    assert!(of("pg_wal/0").len() >= 3, "WAL went to few segments");
    assert!(expected["(all)"].write_bytes > 1 << 20, "no temporary files");
    assert_nothing_lost(&report);
}

/// The main fork of the relation with this number, over all reports.
fn relation(reports: &[Report], relfilenode: &str) -> (FileIo, Option<RelationIo>) {
    let relfilenode: u32 = relfilenode.parse().expect("a number");
    let mut sum = FileIo::default();
    let mut last = None;
    for report in reports {
        let rows = report.storage.files.relations.iter();
        for row in rows.filter(|row| row.relfilenode == relfilenode && row.fork == "main") {
            sum.add(&row.io);
            last = Some(row.clone());
        }
    }
    (sum, last)
}

/// Blocks of a relation that the server had to read, in its own statistics: heap and index.
fn blocks_read(cluster: &Cluster, relation: &str) -> (u64, u64) {
    let sql = format!(
        "SELECT heap_blks_read || ' ' || idx_blks_read FROM pg_statio_user_tables WHERE relname = '{relation}'"
    );
    let row = psql(cluster, &sql);
    let (heap, index) = row.split_once(' ').expect("two counts");
    (heap.parse().expect("a count"), index.parse().expect("a count"))
}

fn number(cluster: &Cluster, sql: &str) -> u64 {
    psql(cluster, sql).parse().expect("a number")
}

#[test]
fn per_relation_as_the_server() {
    let cluster = quiet_with(&["shared_buffers = 2MB", "max_parallel_workers_per_gather = 0"]);
    let create = |name: &str| {
        psql(&cluster, &format!("CREATE TABLE {name} (id int PRIMARY KEY, filler text)"));
        psql(&cluster, &format!("INSERT INTO {name} SELECT i, repeat('x', 400) FROM generate_series(1, 40000) i"));
    };
    create("t");
    wait_for_backends(&cluster);
    // A new page counts as read in the server's statistics before 16: what is compared is reading alone.
    let before = blocks_read(&cluster, "t");
    wait_for_backends(&cluster);
    let profile = Profile::start(&cluster, &["--interval", "1"]);
    for _ in 0..3 {
        psql(&cluster, "SELECT sum(length(filler)) FROM t");
        psql(&cluster, "SET enable_seqscan = off; SELECT count(filler) FROM t WHERE id % 7 = 3 AND id < 30000");
        std::thread::sleep(std::time::Duration::from_millis(400));
    }
    create("grown");
    psql(&cluster, "CHECKPOINT");
    wait_for_backends(&cluster);
    let reports = profile.stop_all();
    assert!(reports.len() >= 2, "{} reports", reports.len());

    let after = blocks_read(&cluster, "t");
    let of = |name: &str| {
        let relfilenode = psql(&cluster, &format!("SELECT relfilenode FROM pg_class WHERE relname = '{name}'"));
        relation(&reports, &relfilenode)
    };
    for (name, blocks) in [("t", after.0 - before.0), ("t_pkey", after.1 - before.1)] {
        let io = of(name).0;
        println!("{name}: {blocks} blocks read, {io:?}");
        assert!(blocks > 50, "{name}: {blocks} blocks");
        assert_eq!((io.reads, io.read_bytes), (blocks, blocks * 8192), "{name}");
    }
    for name in ["grown", "grown_pkey"] {
        let size = number(&cluster, &format!("SELECT pg_relation_size('{name}')"));
        let (io, row) = of(name);
        let row = row.expect("a row");
        println!("{name}: {size} bytes, {io:?}");
        // Every page was new once, and none was given back.
        assert_eq!((io.extend_bytes, row.size_bytes), (size, Some(size)), "{name}");
        let database = number(&cluster, "SELECT oid FROM pg_database WHERE datname = 'postgres'");
        assert_eq!((row.tablespace, row.database), (Some(1663), Some(database as u32)));
    }
    reports.iter().for_each(assert_nothing_lost);
}

#[test]
fn in_a_tablespace() {
    let cluster = quiet_with(&["shared_buffers = 2MB"]);
    let directory = cluster.dir.join("elsewhere");
    std::fs::create_dir(&directory).expect("a directory");
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&cluster.data).expect("data"));
    std::os::unix::fs::chown(&directory, Some(owner), None).expect("root gives it away");
    psql(&cluster, &format!("CREATE TABLESPACE elsewhere LOCATION '{}'", directory.display()));
    let profile = Profile::start(&cluster, &[]);
    psql(
        &cluster,
        "CREATE TABLE t TABLESPACE elsewhere AS SELECT i, repeat('x', 400) FROM generate_series(1, 20000) i",
    );
    psql(&cluster, "CHECKPOINT");
    wait_for_backends(&cluster);
    let report = profile.stop();
    let relfilenode = psql(&cluster, "SELECT relfilenode FROM pg_class WHERE relname = 't'");
    let (io, row) = relation(&[report], &relfilenode);
    let size = number(&cluster, "SELECT pg_relation_size('t')");
    let oid = number(&cluster, "SELECT oid FROM pg_tablespace WHERE spcname = 'elsewhere'");
    let row = row.expect("a row");
    assert_eq!(row.tablespace, Some(oid as u32));
    assert_eq!((io.extend_bytes, row.size_bytes), (size, Some(size)));
    assert!(io.write_bytes >= size);
}

/// Temporary files as the server logs them.
#[derive(Debug, Default)]
struct LoggedTempFiles {
    by_statement: BTreeMap<String, u64>,
    /// Of them in the log without a statement, and not in `pg_stat_database`: a parallel worker that is the last to let go of
    /// its leader's files deletes them when it has no statement any more and its statistics are sent.
    deleted_at_exit: u64,
}

impl LoggedTempFiles {
    fn all(&self) -> u64 {
        self.by_statement.values().sum()
    }
}

/// Needs `log_statement = all`, which says whose a leader's files are.
fn logged_temp_files(cluster: &Cluster) -> LoggedTempFiles {
    let log = std::fs::read_to_string(cluster.log_path()).expect("the server's log");
    // 2026-01-01 00:00:00.000 UTC [4711] LOG:  statement: SELECT 1
    let lines = log.lines().filter_map(|line| line.split_once(" [")?.1.split_once("] "));
    let mut statements = BTreeMap::new();
    let mut files = BTreeMap::<&str, Vec<(&str, u64)>>::new();
    let mut logged = LoggedTempFiles::default();
    for (pid, line) in lines {
        if let Some(statement) = line.strip_prefix("LOG:  statement: ") {
            statements.insert(pid, statement);
        } else if let Some(file) = line.strip_prefix("LOG:  temporary file: path ") {
            // "base/pgsql_tmp/pgsql_tmp4711.0.fileset/i1of8.p0.0", size 8192
            let (_, name) = file.split_once("/pgsql_tmp/pgsql_tmp").expect("a temporary file");
            let (owner, bytes) = (name.split_once('.').expect("a pid").0, name.split_once("size ").expect("a size").1);
            files.entry(pid).or_default().push((owner, bytes.trim().parse().expect("bytes")));
        } else if let Some(statement) = line.strip_prefix("STATEMENT:  ")
            && let Some((_, bytes)) = files.get_mut(pid).and_then(Vec::pop)
        {
            *logged.by_statement.entry(statement.to_owned()).or_default() += bytes;
        }
    }
    for (owner, bytes) in files.into_values().flatten() {
        *logged.by_statement.entry(statements[owner].to_owned()).or_default() += bytes;
        logged.deleted_at_exit += bytes;
    }
    logged
}

#[test]
fn temporary_files_by_statement_as_logged() {
    let settings = [
        "work_mem = 64kB",
        "log_temp_files = 0",
        "log_statement = all",
        "min_parallel_table_scan_size = 0",
        "parallel_setup_cost = 0",
    ];
    let cluster = quiet_with(&settings);
    psql(
        &cluster,
        "CREATE TABLE big AS SELECT i * 7919 % 100003 AS k, repeat(md5(i::text), 8) AS m FROM generate_series(1, 60000) i",
    );
    psql(&cluster, "ANALYZE big");
    let temp = || {
        psql(&cluster, "SELECT temp_bytes FROM pg_stat_database WHERE datname = 'postgres'")
            .parse::<u64>()
            .expect("bytes")
    };
    let before = temp();
    let logged_before = logged_temp_files(&cluster);
    let profile = Profile::start(&cluster, &[]);
    let statements = [
        "SELECT k, m FROM big ORDER BY m, k OFFSET 59999",
        "SELECT count(*) FROM big a JOIN big b USING (k, m)",
        "SELECT count(DISTINCT m) FROM big",
    ];
    for statement in statements {
        psql(&cluster, statement);
    }
    wait_for_backends(&cluster);
    let report = profile.stop();
    let logged = logged_temp_files(&cluster);
    let parallel = report.queries.iter().map(|query| query.worker_processes).sum::<u64>();
    println!("{parallel} parallel workers; logged: {logged:?}");
    assert!(parallel > 0, "no parallel workers");
    let mut all = 0;
    for (statement, part) in statements.iter().zip(["ORDER BY", "JOIN", "DISTINCT"]) {
        let io: Vec<ClassIo> = queries(&report, part).iter().map(|query| query.io.temp).collect();
        assert_eq!(io.len(), 1, "{part}: {io:?}");
        println!("{part}: {:?}", io[0]);
        assert_eq!(Some(&io[0].extend_bytes), logged.by_statement.get(*statement), "{part}");
        assert!(io[0].write_bytes >= io[0].extend_bytes && io[0].read_bytes > 0, "{:?}", io[0]);
        all += io[0].extend_bytes;
    }
    assert_eq!(
        temp() - before,
        all - (logged.deleted_at_exit - logged_before.deleted_at_exit),
        "as pg_stat_database has it"
    );
    assert_eq!(logged.all() - logged_before.all(), all);
    // The rows of the files hold the same.
    let rows = report.storage.files.by.iter().filter(|row| row.file_kind == "temp");
    let rows: Vec<FileIo> = rows.map(|row| row.io).collect();
    assert_eq!(rows.iter().map(|io| io.extend_bytes).sum::<u64>(), all);
    let temp: Vec<ClassIo> = report.queries.iter().map(|query| query.io.temp).collect();
    assert_eq!(rows.iter().map(|io| io.write_bytes).sum::<u64>(), temp.iter().map(|io| io.write_bytes).sum::<u64>());
    assert_eq!(rows.iter().map(|io| io.reads).sum::<u64>(), temp.iter().map(|io| io.reads).sum::<u64>());
    assert_nothing_lost(&report);
}
