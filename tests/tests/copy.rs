//! COPY in both directions is one statement, also when the client is the slow side.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use pgstrobe_tests::*;

const PAUSE: Duration = Duration::from_secs(1);

fn one_long_copy(boundary: &str, copy: impl Fn(&Cluster), rows: u64) {
    let cluster = quiet_cluster();
    psql(&cluster, "CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 1000000) g");
    psql(&cluster, "CREATE TABLE target (a int)");
    let profile = Profile::start(&cluster, &["--boundary", boundary]);
    copy(&cluster);
    let report = profile.stop();
    assert_eq!(report.statements.count, 1, "one COPY, {boundary}");
    assert!(report.statements.latency.max >= PAUSE.as_nanos() as u64, "the wait for the client belongs to it");
    assert!(report.statements.latency.max < 20 * PAUSE.as_nanos() as u64);
    let ledger = &report.statements.ledger;
    assert_eq!(ledger.parts.iter().map(|part| part.ns).sum::<u64>(), ledger.wall_ns, "the ledger adds up");
    assert_nothing_lost(&report);
    assert_eq!(psql(&cluster, "SELECT count(*) FROM target"), rows.to_string());
}

#[test]
fn from_a_slow_client() {
    for boundary in ["socket", "uprobe"] {
        one_long_copy(boundary, |cluster| copy_in_slowly(cluster, "target", 200_000, PAUSE), 200_000);
    }
}

#[test]
fn to_a_slow_client() {
    for boundary in ["socket", "uprobe"] {
        // Some 7 MB: more than the sockets and the pipe hold, so the server has to wait.
        let copy = |cluster: &Cluster| {
            let mut psql = cluster.client("psql");
            psql.args(["-X", "-q", "-c", "COPY t TO STDOUT"]).stdout(Stdio::piped());
            let mut child = psql.spawn().expect("psql");
            let mut stdout = child.stdout.take().expect("stdout");
            std::thread::sleep(PAUSE);
            let mut all = Vec::new();
            stdout.read_to_end(&mut all).expect("rows");
            assert_eq!(all.iter().filter(|byte| **byte == b'\n').count(), 1_000_000);
            assert!(child.wait().expect("psql ends").success());
        };
        one_long_copy(boundary, copy, 0);
    }
}

#[test]
fn fast_in_both_directions() {
    let cluster = quiet_cluster();
    psql(&cluster, "CREATE TABLE target (a int)");
    let profile = Profile::start(&cluster, &[]);
    copy_in_slowly(&cluster, "target", 1000, Duration::ZERO);
    let rows = psql(&cluster, "COPY target TO STDOUT");
    let report = profile.stop();
    assert_eq!(rows.lines().count(), 1000);
    assert_eq!(report.statements.count, 2);
    assert_nothing_lost(&report);
}
