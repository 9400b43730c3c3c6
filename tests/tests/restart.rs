//! A postmaster that is replaced during the profile is found again.

use std::time::Duration;

use pgstrobe_tests::*;

#[test]
fn found_again() {
    let mut cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    let profile = Profile::start(&cluster, &[]);
    Pgbench::new(&cluster, 1, 100).run();
    let old = cluster.pid();
    cluster.restart().expect("restart");
    assert_ne!(cluster.pid(), old);
    // What is not a child of a known postmaster is found by looking around now and then.
    std::thread::sleep(Duration::from_secs(3));
    Pgbench::new(&cluster, 2, 100).run();
    let report = profile.stop();
    assert_eq!(report.clusters[0].restarts, 1);
    assert_eq!(calls(&report, "pgbench_accounts"), 300);
    assert_nothing_lost(&report);
}
