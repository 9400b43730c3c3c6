//! Every build of every supported version: a checkpoint as the server logs it, and the WAL it counts. The layouts of both
//! are proven against each live server.

use std::time::Duration;

use pgstrobe_tests::*;

macro_rules! builds {
    ($($test:ident: $name:literal;)+) => {$(
        #[test]
        fn $test() {
            let build = Build::named($name).expect("a build");
            match build.provide() {
                Ok(server) => checkpoints(build.major, &cluster(server.with(&[QUIET, &["log_checkpoints = on"]].concat()))),
                Err(error) => skip!("{}: {error:#}", build.name),
            }
        }
    )+};
}

builds! {
    npm_13: "npm-13";
    npm_14: "npm-14";
    npm_15: "npm-15";
    npm_16: "npm-16";
    npm_17: "npm-17";
    npm_18: "npm-18";
    debian_13: "debian-13";
    debian_15: "debian-15";
    debian_17: "debian-17";
    debian_18: "debian-18";
}

const TRANSACTIONS: u64 = 50;

/// Records, images and bytes, where the server counts them, and the position in the WAL.
fn server_wal(major: u32, cluster: &Cluster) -> ([u64; 3], u64) {
    let numbers = |row: String| row.split('|').map(|number| number.parse().expect("a number")).collect::<Vec<u64>>();
    let counted = match major {
        13 => vec![0; 3],
        _ => numbers(psql(cluster, "SELECT wal_records, wal_fpi, wal_bytes FROM pg_stat_wal")),
    };
    let at = numbers(psql(cluster, "SELECT pg_current_wal_insert_lsn() - '0/0'"));
    (counted.try_into().expect("three numbers"), at[0])
}

fn checkpoints(major: u32, cluster: &Cluster) {
    psql(cluster, "CREATE TABLE t AS SELECT i, repeat('x', 500) FROM generate_series(1, 2000) i");
    psql(cluster, "CHECKPOINT");
    // What a session does once with its catalogs.
    server_wal(major, cluster);
    let (before, from_lsn) = server_wal(major, cluster);
    let from = log_length(cluster);
    let profile = Profile::start(cluster, &[]);
    Pgbench::new(cluster, 1, TRANSACTIONS).script("INSERT INTO t VALUES (1);\n").run();
    psql(cluster, "CHECKPOINT");
    std::thread::sleep(Duration::from_millis(1200));
    let (after, to_lsn) = server_wal(major, cluster);
    let report = profile.stop();

    let wal = &report.storage.wal;
    assert_as_logged(&wal.checkpoints, &logged_checkpoints(cluster, from));
    assert_eq!(wal.checkpoints.len(), 1);
    assert_eq!(wal.checkpoints[0].slru_buffers.is_some(), major >= 18);
    let written = wal.written.as_ref().expect("WAL");
    println!("{written:?}; the server: {before:?} to {after:?}, {from_lsn} to {to_lsn}");
    if major > 13 {
        let counted: [u64; 3] = std::array::from_fn(|i| after[i] - before[i]);
        assert_eq!([written.records, written.full_page_images, written.bytes], counted);
        assert_eq!(wal.transactions, Some(TRANSACTIONS));
    } else {
        assert_eq!(wal.transactions, None);
    }
    let lsn = to_lsn - from_lsn;
    assert!(written.bytes <= lsn && lsn <= written.bytes + 8 * written.records + written.bytes / 100 + 64, "{lsn}");
    assert!(wal.settings.as_ref().is_some_and(|settings| settings.max_wal_size_bytes == 4 << 30), "{:?}", wal.settings);
    assert_nothing_lost(&report);
}
