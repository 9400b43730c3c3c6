//! Planted causes: heavyweight locks. Each is made on purpose, seen by the server's own views, and must be the report's
//! first finding.

use std::time::Duration;

use pgstrobe_tests::*;

const WAIT: Duration = Duration::from_millis(2000);

/// Rows 1 to 10.
fn rows() -> Cluster {
    let cluster = quiet_with(&["log_lock_waits = on", "deadlock_timeout = 500ms"]);
    psql(
        &cluster,
        "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 10) i",
    );
    cluster
}

fn pid(client: &mut Client) -> u32 {
    client.ask("SELECT pg_backend_pid()").parse().expect("a pid")
}

fn update(id: u32) -> String {
    format!("UPDATE t SET a = a + 1 WHERE id = {id}")
}

/// Clients that each wait for a row of their own, until the one who holds all of them lets go.
fn waiters(cluster: &Cluster) -> Vec<Client> {
    let mut clients: Vec<Client> = (1..=3).map(|n| Client::connect(cluster, &format!("waiter {n}"))).collect();
    for (client, id) in clients.iter_mut().zip(1..) {
        client.send(&update(id));
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'";
    wait_until("all wait for the row's holder", || psql(cluster, waiting) == "3");
    clients
}

/// A transaction that took its rows and then does nothing; `released` before the profile ends, or after.
fn idle_holder(released: bool) {
    let cluster = rows();
    let mut holder = Client::connect(&cluster, "holder");
    let holder_pid = pid(&mut holder);
    let profile = Profile::start(&cluster, &[]);
    let activity = Activity::watch_blockers(&cluster, Duration::from_millis(50));
    holder.ask("BEGIN");
    holder.ask("UPDATE t SET a = a + 1");
    let mut waiting = waiters(&cluster);
    std::thread::sleep(WAIT);
    let samples = activity.stop();
    let seen = |(_, by, state, event): &(u32, u32, String, String)| {
        *by == holder_pid && state == "idle in transaction" && event == "ClientRead"
    };
    assert!(!samples.blocking.is_empty() && samples.blocking.iter().all(seen), "{:?}", samples.blocking);
    assert!(samples.share("Lock:transactionid") > 0.8, "{samples:?}");
    let release = |holder: &mut Client, waiting: &mut Vec<Client>| {
        holder.ask("COMMIT");
        waiting.iter_mut().for_each(|client| drop(client.answer()));
    };
    if released {
        release(&mut holder, &mut waiting);
    }
    let report = profile.stop();
    if released {
        assert_largest(&report.statements.ledger, &["Lock:transactionid"]);
    } else {
        release(&mut holder, &mut waiting);
        let open: Vec<_> = report.unfinished.iter().filter(|open| !open.began_before).collect();
        assert_eq!(open.len(), 3, "{:?}", report.unfinished);
        for open in open {
            assert_largest(&open.ledger, &["Lock:transactionid"]);
            assert!(open.elapsed_ns > WAIT.as_nanos() as u64, "{open:?}");
        }
    }
    assert_nothing_lost(&report);
    let first = assert_first(&report, "idle_in_transaction_lock");
    assert!(first.evidence.join("\n").contains(&holder_pid.to_string()), "{holder_pid} is not named: {first:#?}");
}

#[test]
fn a_row_of_an_idle_transaction() {
    idle_holder(true);
}

#[test]
fn a_row_of_an_idle_transaction_that_stays() {
    idle_holder(false);
}

/// The holder works on: in the same message, or in one after the other.
fn working_holder(work: &[&str]) {
    let cluster = rows();
    let mut holder = Client::connect(&cluster, "holder");
    let holder_pid = pid(&mut holder);
    let profile = Profile::start(&cluster, &[]);
    let activity = Activity::watch_blockers(&cluster, Duration::from_millis(50));
    let (first, rest) = work.split_first().expect("work");
    holder.send(first);
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted \
                AND relation = 't'::regclass";
    wait_until("the rows are taken", || psql(&cluster, held) == "1");
    let mut waiting = waiters(&cluster);
    for work in rest {
        holder.answer();
        holder.send(work);
    }
    holder.answer();
    waiting.iter_mut().for_each(|client| drop(client.answer()));
    let samples = activity.stop();
    let report = profile.stop();

    let active = |(_, by, state, _): &&(u32, u32, String, String)| *by == holder_pid && state == "active";
    assert!(samples.blocking.iter().filter(active).count() >= 3, "{:?}", samples.blocking);
    assert_eq!(samples.most(), "Lock:transactionid");
    let log = cluster.log_tail(100);
    assert_eq!(log.matches("still waiting for ShareLock on transaction").count(), 3, "{log}");
    assert_largest(&report.statements.ledger, &["Lock:transactionid"]);
    assert_nothing_lost(&report);
    let first = assert_first(&report, "lock_waits");
    assert!(first.evidence.join("\n").contains(&holder_pid.to_string()), "{holder_pid} is not named: {first:#?}");
}

/// Of a statement of one message that changes the rows and then waits.
#[test]
fn a_row_of_a_transaction_at_work_in_one_message() {
    working_holder(&["BEGIN\\; UPDATE t SET a = a + 1\\; SELECT pg_sleep(2)\\; COMMIT"]);
}

/// Of several, one after the other, on the CPU.
#[test]
fn a_row_of_a_transaction_at_work_in_several_messages() {
    let work = "SELECT count(*) FROM generate_series(1, 4000000)";
    working_holder(&["BEGIN\\; UPDATE t SET a = a + 1\\; SELECT 1", work, work, work, "COMMIT"]);
}

#[test]
fn a_deadlock() {
    let cluster = rows();
    let profile = Profile::start(&cluster, &[]);
    let activity = Activity::watch_blockers(&cluster, Duration::from_millis(50));
    let clients = [(1, 2), (2, 1)].map(|(first, second)| {
        let mut psql = cluster.client("psql");
        let sql = format!("BEGIN; {}; SELECT pg_sleep(0.2); {}; COMMIT", update(first), update(second));
        psql.args(["-X", "-q", "-v", "VERBOSITY=verbose", "-c", &sql]);
        std::thread::spawn(move || psql.output().expect("psql"))
    });
    let outputs = clients.map(|client| client.join().expect("a client"));
    let samples = activity.stop();
    let report = profile.stop();
    let errors = outputs.each_ref().map(|output| String::from_utf8_lossy(&output.stderr).contains("40P01"));
    assert_eq!(errors.iter().filter(|error| **error).count(), 1, "{outputs:?}");
    // Each was seen to wait for the other.
    let pairs: Vec<(u32, u32)> = samples.blocking.iter().map(|(waits, by, ..)| (*waits, *by)).collect();
    assert!(pairs.iter().any(|(waits, by)| pairs.contains(&(*by, *waits))), "{pairs:?}");
    assert_eq!(report.statements.errors, 1);
    assert_largest(&report.statements.ledger, &["Lock:transactionid"]);
    assert_nothing_lost(&report);
    assert_first(&report, "deadlock");
}

/// As a table is repacked: an exclusive lock for a moment, long work beside readers and writers, and the exclusive lock
/// again, which a long reader keeps waiting, and behind which all new readers stand.
#[test]
fn a_queue_behind_an_exclusive_lock() {
    let cluster = rows();
    let profile = Profile::start(&cluster, &[]);
    let activity = Activity::watch_blockers(&cluster, Duration::from_millis(50));
    let mut repack = Client::connect(&cluster, "repack");
    repack.ask("BEGIN\\; LOCK TABLE t IN ACCESS EXCLUSIVE MODE\\; CREATE TABLE changes (id int)\\; COMMIT");
    repack.ask("BEGIN\\; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE\\; CREATE TABLE t2 AS SELECT * FROM t\\; COMMIT");
    let mut reader = Client::connect(&cluster, "long reader");
    let reader_pid = pid(&mut reader);
    reader.send("SELECT count(*), pg_sleep(2) FROM t GROUP BY id LIMIT 1");
    let reading = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until("the long reader reads", || psql(&cluster, reading) == "1");
    let repack_pid = pid(&mut repack);
    repack.send("BEGIN\\; LOCK TABLE t IN ACCESS EXCLUSIVE MODE\\; ALTER TABLE t RENAME TO old\\; ALTER TABLE t2 RENAME TO t\\; COMMIT");
    let queue = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND NOT granted";
    wait_until("the exclusive lock is asked for", || psql(&cluster, queue) == "1");
    let mut readers: Vec<Client> = (0..6).map(|_| Client::connect(&cluster, "new reader")).collect();
    readers.iter_mut().for_each(|client| client.send("SELECT max(a) FROM t"));
    wait_until("new readers queue", || psql(&cluster, queue) == "7");
    reader.answer();
    repack.answer();
    readers.iter_mut().for_each(|client| drop(client.answer()));
    let samples = activity.stop();
    let report = profile.stop();

    let blocked = |waits: Option<u32>, by: u32| {
        samples.blocking.iter().filter(|row| row.1 == by && waits.is_none_or(|pid| row.0 == pid)).count()
    };
    assert!(blocked(Some(repack_pid), reader_pid) > 0, "{:?}", samples.blocking);
    assert!(blocked(None, repack_pid) >= 6, "{:?}", samples.blocking);
    assert_largest(&report.statements.ledger, &["Lock:relation"]);
    assert_nothing_lost(&report);
    assert_first(&report, "relation_lock_queue");
}
