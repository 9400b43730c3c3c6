//! Others on the same hooks: a second pgstrobe and another eBPF tool take nothing from each other.

use pgstrobe_tests::*;

#[test]
fn two_profiles_and_another_tool() {
    if !installed("bpftrace") {
        skip!("bpftrace is not installed");
    }
    let (cluster, other) = (quiet_cluster(), quiet_cluster());
    cluster.pgbench_init(1).expect("pgbench -i");
    let bpftrace = BpftraceSyncs::start();
    let profiles = [Profile::start(&cluster, &[]), Profile::start(&cluster, &["--boundary", "uprobe"])];
    let of_other = Profile::start(&other, &[]);
    Pgbench::new(&cluster, 4, 500).run();
    assert_eq!(psql(&other, "SELECT 1"), "1");
    psql(&cluster, "CREATE TABLE t (a int)");
    let syncs: u64 = bpftrace.stop(&cluster.pids().into_iter().collect()).values().sum();
    println!("{syncs} syncs of the processes that live on");
    for profile in profiles {
        let report = profile.stop();
        assert_eq!((report.statements.count, report.statements.errors), (2001, 0));
        assert!(report.fsync.by.iter().any(|row| row.file_kind == "wal"), "{:?}", report.fsync.by);
        assert_nothing_lost(&report);
    }
    assert_eq!(of_other.stop().statements.count, 1);
}
