//! The ways a client can talk: pipelines, TCP, TLS, prepared statements by SQL, several statements in one message.

use pgstrobe_tests::*;

#[test]
fn pipelines() {
    let cluster = quiet_cluster();
    let script = "\\startpipeline\nSELECT 1;\nSELECT 2;\nSELECT 3;\nSELECT 4;\nSELECT 5;\n\\endpipeline\n";
    let profile = Profile::start(&cluster, &[]);
    Pgbench::new(&cluster, 2, 100).script(script).args(&["-M", "extended"]).run();
    let report = profile.stop();
    assert_eq!(report.statements.count, 200, "one exchange for each pipeline");
    assert_eq!(report.statements.batches, 200);
    assert_nothing_lost(&report);

    let profile = Profile::start(&cluster, &["--boundary", "uprobe"]);
    Pgbench::new(&cluster, 2, 100).script(script).args(&["-M", "extended"]).run();
    let report = profile.stop();
    assert_eq!(report.statements.count, 1000, "the functions tell the statements of a pipeline apart");
    assert_nothing_lost(&report);
}

fn counted_over(cluster: &Cluster, boundary: &str) {
    for mode in ["simple", "extended", "prepared"] {
        let profile = Profile::start(cluster, &["--boundary", boundary]);
        Pgbench::new(cluster, 4, 100).args(&["-M", mode]).tcp().run();
        let report = profile.stop();
        let parses = if mode == "prepared" { 4 } else { 0 };
        assert_eq!(report.statements.count, 400 + parses, "{mode}, {boundary}");
        assert_eq!(report.statements.errors, 0, "{mode}, {boundary}");
        assert_nothing_lost(&report);
    }
}

#[test]
fn tcp() {
    let settings = QUIET.iter().map(|line| line.to_string()).collect();
    let cluster = cluster(ClusterOptions { tcp: true, settings, ..Default::default() });
    cluster.pgbench_init(1).expect("pgbench -i");
    for boundary in ["socket", "uprobe"] {
        counted_over(&cluster, boundary);
    }
}

#[test]
fn tls() {
    if !installed("openssl") {
        skip!("openssl is not installed");
    }
    let settings = QUIET.iter().map(|line| line.to_string()).collect();
    let cluster = cluster(ClusterOptions { tls: true, settings, ..Default::default() });
    cluster.pgbench_init(1).expect("pgbench -i");
    let mut psql = client_over_tcp(&cluster, "psql");
    psql.env("PGSSLMODE", "require").args(["-X", "-A", "-t", "-c"]);
    let output = psql.arg("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").output().expect("psql");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "t", "{output:?}");
    // libpq prefers TLS where the server has it.
    for boundary in ["socket", "uprobe"] {
        counted_over(&cluster, boundary);
    }
}

#[test]
fn several_statements_in_one_message() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    psql(&cluster, "SELECT 1; SELECT 2; SELECT 3");
    psql(&cluster, "PREPARE p AS SELECT $1::int; EXECUTE p(1)");
    let report = profile.stop();
    assert_eq!(report.statements.count, 2, "one exchange for each message");
    assert_nothing_lost(&report);
}

/// A cursor that is fetched from in pieces, in one session: each piece is an exchange.
#[test]
fn cursors() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let script =
        "BEGIN;\nDECLARE c CURSOR FOR SELECT generate_series(1, 100);\nFETCH 10 FROM c;\nFETCH 10 FROM c;\nEND;\n";
    Pgbench::new(&cluster, 1, 20).script(script).run();
    let report = profile.stop();
    assert_eq!(report.statements.count, 20 * 5);
    assert_nothing_lost(&report);
}
