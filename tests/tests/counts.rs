//! Every exchange is counted, exactly, in every protocol mode and with both boundaries.

use pgstrobe_tests::*;

const BOUNDARIES: [&str; 2] = ["socket", "uprobe"];

/// Runs `clients` × `each` one-row selects in `mode`; `per_client` exchanges come on top for every connection.
fn exact(mode: &str, clients: u64, each: u64, connect_each: bool) {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    for boundary in BOUNDARIES {
        let profile = Profile::start(&cluster, &["--boundary", boundary]);
        let mut load = Pgbench::new(&cluster, clients, each).args(&["-M", mode]);
        if connect_each {
            load = load.args(&["-C"]);
        }
        let run = load.run();
        let report = profile.stop();
        assert_eq!(run.transactions, clients * each);
        // pgbench prepares each command of its script once per connection, in an exchange of its own.
        let connections = if connect_each { clients * each } else { clients };
        let parses = if mode == "prepared" { connections } else { 0 };
        assert_eq!(report.statements.count, clients * each + parses, "{mode}, {clients} clients, {boundary}");
        assert_eq!(report.statements.errors, 0, "{boundary}");
        assert_eq!(report.clusters[0].boundary, boundary);
        let of_backends: u64 = report.backends.iter().map(|backend| backend.statements).sum();
        assert_eq!(of_backends, report.statements.count, "backends add up to the whole ({boundary})");
        assert_nothing_lost(&report);
    }
}

#[test]
fn simple() {
    for (clients, each) in [(1, 2000), (4, 500), (50, 40)] {
        exact("simple", clients, each, false);
    }
}

#[test]
fn extended() {
    for (clients, each) in [(1, 2000), (4, 500), (50, 40)] {
        exact("extended", clients, each, false);
    }
}

#[test]
fn prepared() {
    for (clients, each) in [(1, 2000), (4, 500), (50, 40)] {
        exact("prepared", clients, each, false);
    }
}

#[test]
fn a_connection_for_each_transaction() {
    for mode in ["simple", "extended", "prepared"] {
        exact(mode, 4, 50, true);
    }
}

/// The built-in script has pgbench ask two things first: the branches, and how the accounts are partitioned.
#[test]
fn built_in_select_only() {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    let profile = Profile::start(&cluster, &[]);
    let output = cluster.client("pgbench").args(["-n", "-S", "-c", "4", "-t", "250"]).output().expect("pgbench");
    assert!(output.status.success(), "{output:?}");
    let report = profile.stop();
    assert_eq!(report.statements.count, 1000 + 2);
    assert_nothing_lost(&report);
}

/// Every statement of a TPC-B transaction, BEGIN and END included.
#[test]
fn tpcb() {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    let profile = Profile::start(&cluster, &[]);
    let args = ["-n", "-b", "tpcb-like", "-c", "4", "-t", "50"];
    let output = cluster.client("pgbench").args(args).output().expect("pgbench");
    assert!(output.status.success(), "{output:?}");
    let report = profile.stop();
    assert_eq!(report.statements.count, 200 * 7 + 2);
    assert_eq!(calls(&report, "UPDATE pgbench_accounts"), 200);
    assert_eq!(calls(&report, "INSERT INTO pgbench_history"), 200);
    assert_nothing_lost(&report);
}
