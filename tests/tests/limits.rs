//! More of everything than there is room for: nothing fails, and what found no room is counted.

use std::fmt::Write as _;

use pgstrobe_tests::*;

/// Entries of the kernel side's map of classes (`CLASSES`, profiler-ebpf/src/globals.rs).
const KERNEL_CLASSES: u64 = 32_768;

#[test]
fn more_classes_than_the_map_holds() {
    const MORE: u64 = 500;
    let cluster = quiet_cluster();
    let mut script = String::from("\\o /dev/null\n");
    for i in 0..KERNEL_CLASSES + MORE {
        writeln!(script, "SELECT 1 AS c{i};").expect("a string");
    }
    let path = cluster.dir.join("classes.sql");
    std::fs::write(&path, script).expect("the script");
    let profile = Profile::start(&cluster, &[]);
    let output = cluster.client("psql").args(["-X", "-q", "-f"]).arg(&path).output().expect("psql");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = profile.stop();
    let sent = KERNEL_CLASSES + MORE;
    assert_eq!(report.statements.count, sent);
    assert_eq!(report.coverage.lost["classes_map_full"], MORE);
    // Names of columns tell no classes apart; those without a text are a row of their own.
    assert_eq!(calls(&report, "SELECT $"), KERNEL_CLASSES);
    assert_eq!(report.queries.iter().map(|query| query.calls).sum::<u64>(), sent);
}
