//! Clocks that do not go on as others do: somebody sets one, the machine sleeps.

use std::time::{Duration, Instant};

use pgstrobe_tests::*;

use crate::{assert_ledgers_sum, own_machine};

/// Somebody sets the clock by hours while a statement waits: no duration is measured with it. Not `pg_sleep`: in 15 that
/// sleeps until a time of day, and set back by hours it does not end.
#[test]
fn the_clock_is_set() {
    if !own_machine() {
        skip!("the clock is not ours to set: this runs in the virtual machines");
    }
    const HOURS: [i64; 2] = [5, -3];
    let cluster = quiet_with(&["log_checkpoints = on"]);
    psql(&cluster, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let (mut holder, mut waiter) = (Client::connect(&cluster, "holder"), Client::connect(&cluster, "waiter"));
    let clock = SetClock::remember();
    let begin = clock.right();
    let profile = Profile::start(&cluster, &[]);
    let began = Instant::now();
    let mut waited = Vec::new();
    for hours in HOURS {
        holder.ask("BEGIN");
        holder.ask("UPDATE t SET a = 2");
        let sent = Instant::now();
        waiter.send("UPDATE t SET a = 3");
        std::thread::sleep(Duration::from_millis(300));
        clock.to(hours * 3600);
        std::thread::sleep(Duration::from_millis(700));
        holder.ask("COMMIT");
        waiter.answer();
        waited.push(sent.elapsed().as_nanos() as u64);
        psql(&cluster, "CHECKPOINT");
        std::thread::sleep(Duration::from_millis(500));
    }
    let report = profile.stop();
    let took = began.elapsed().as_nanos() as u64;
    let right = clock.right();
    drop(clock);

    assert!(report.duration_ns <= took, "{}", report.duration_ns);
    let update = queries(&report, "UPDATE t SET a")[0];
    assert_eq!(update.calls, 4);
    assert!(update.latency.max <= waited[0].max(waited[1]), "{waited:?}: {update:?}");
    let locked = time_of(&update.ledger, "Lock:transactionid");
    assert!((1_200_000_000..=waited.iter().sum()).contains(&locked), "{locked} of {waited:?}");
    let accounts = report.backends.iter().flat_map(|b| [("ledger", &b.ledger), ("outside", &b.outside)]);
    for (which, account) in accounts {
        assert!(account.wall_ns <= report.duration_ns + 100_000_000, "{which}: {} ns", account.wall_ns);
    }
    assert_ledgers_sum(&report);

    let started = humantime::parse_rfc3339(&report.started_at).expect("a time");
    let started = started.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    assert!((begin..=right).contains(&started), "{started:?}, the profile began after {begin:?}");
    let notes = |part: &str| report.coverage.notes.iter().filter(|note| note.contains(part)).count();
    let said = [notes("the clock was set forwards by 5.00 h"), notes("the clock was set back by 8.00 h")];
    assert_eq!(said, [1, 1], "{:?}", report.coverage.notes);

    // The one after the clock was set back is earlier by the server's clock than the beginning of the profile.
    let logged = logged_checkpoints(&cluster, 0);
    assert_eq!(logged.len(), 2, "{logged:?}");
    let checkpoints = &report.storage.wal.checkpoints;
    assert_as_logged(checkpoints, &logged);
    for (checkpoint, hours) in checkpoints.iter().zip(HOURS) {
        assert!((0..took as i64).contains(&checkpoint.began_ns), "{checkpoint:?}");
        let at = humantime::parse_rfc3339(&checkpoint.started_at).expect("a time");
        let at = at.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() as i64 - hours * 3600;
        assert!(
            (begin.as_secs() as i64..=right.as_secs() as i64).contains(&at),
            "{checkpoint:?}: as the server logs it"
        );
    }
}

/// The machine sleeps for some seconds (ACPI's S3) while a statement waits: no duration is longer for it, and what comes
/// after is counted as before. All CPUs but one are taken out and put back meanwhile.
#[test]
fn the_machine_is_suspended() {
    if !own_machine() {
        skip!("the machine is not ours to put to sleep: this runs in the virtual machines");
    }
    const ASLEEP: Duration = Duration::from_secs(5);
    let cluster = quiet_cluster();
    psql(&cluster, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let (mut holder, mut waiter) = (Client::connect(&cluster, "holder"), Client::connect(&cluster, "waiter"));
    // On a CPU that goes and comes back, with a text longer than the server shows.
    let mut late = Client::connect(&cluster, "late");
    let late_pid = late.backend(&cluster);
    let long = format!("SELECT count(*) FROM generate_series(1, 300000) WHERE {} true", "1 = 1 AND ".repeat(300));
    let profile = Profile::start(&cluster, &[]);
    let began = Instant::now();
    holder.ask("BEGIN");
    holder.ask("UPDATE t SET a = 2");
    let sent = Instant::now();
    waiter.send("UPDATE t SET a = 3");
    std::thread::sleep(Duration::from_millis(300));
    let asleep = suspend(ASLEEP);
    holder.ask("COMMIT");
    waiter.answer();
    let waited = sent.elapsed().as_nanos() as u64;
    // The timers of the CPUs that were taken out are started anew within two seconds.
    std::thread::sleep(Duration::from_secs(2));
    run_on_cpu(late_pid, 1);
    // The first one asks for the text of those to come.
    for _ in 0..3 {
        late.ask(&long);
    }
    let run = Pgbench::new(&cluster, 1, 200).script("SELECT 7 * 6;\n").run();
    let report = profile.stop();
    let took = began.elapsed().as_nanos() as u64;

    assert!(asleep >= ASLEEP / 2, "asleep for {asleep:?} only");
    assert!(report.duration_ns <= took, "{} of {took}", report.duration_ns);
    let update = queries(&report, "UPDATE t SET a")[0];
    assert_eq!(update.calls, 2);
    assert!(update.latency.max <= waited, "{waited}: {update:?}");
    let locked = time_of(&update.ledger, "Lock:transactionid");
    assert!((200_000_000..=waited).contains(&locked), "{locked} of {waited}");
    assert_ledgers_sum(&report);
    assert_eq!((run.transactions, calls(&report, "SELECT $1 * $2")), (200, 200), "after it");
    let said: Vec<_> = report.coverage.notes.iter().filter(|note| note.contains("suspended")).collect();
    println!("asleep for {asleep:?}: {said:?}");
    assert_eq!(said.len(), 1, "{:?}", report.coverage.notes);
    let late = queries(&report, "generate_series")[0];
    assert!(!late.cut, "no timer on the CPU that came back read its text: {}", late.query);
}
