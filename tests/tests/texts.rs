//! Statement texts that the server shows cut, and data that is lost.

use pgstrobe_tests::*;

/// The activity string ends at 1 kB; the whole text is taken from a backend at work, and holds no literal.
#[test]
fn long_texts_are_completed() {
    let cluster = quiet_cluster();
    let conditions: Vec<String> = (0..150).map(|i| format!("g <> {}", 1_000_000 + i)).collect();
    let conditions = conditions.join(" AND ");
    let sql = format!("SELECT count(*) FROM generate_series(1, 20000) g WHERE {conditions} AND 424242 > g");
    assert!(sql.len() > 2000);
    let profile = Profile::start(&cluster, &[]);
    Pgbench::new(&cluster, 2, 60).script(&format!("{sql};\n")).run();
    let report = profile.stop();
    let query = queries(&report, "generate_series")[0];
    assert_eq!(query.calls, 120);
    assert!(!query.cut, "the text stayed cut: {}", query.query);
    assert_eq!(query.query.matches("g <> $").count(), 150);
    assert!(!query.query.contains("424242"));
}

/// What a ring buffer that is too small drops is counted, statement by statement, and changes the exit code on request.
#[test]
fn losses_are_counted() {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    let profile = Profile::start(&cluster, &["--ring-buffer", "4"]);
    Pgbench::new(&cluster, 4, 2000).run();
    let report = profile.stop();
    let lost = report.coverage.lost["ring_buffer_full"];
    assert!(lost > 0, "4 KiB were enough");
    // Besides statements, the ring carries a fork, a start-up and an exit for each of the four connections.
    let sent = 4 * 2000;
    assert!((sent..=sent + 12).contains(&(report.statements.count + lost)), "{} + {lost}", report.statements.count);
}
