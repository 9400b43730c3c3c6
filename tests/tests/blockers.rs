//! Who holds the lock a backend waits for: the report against the server's own `pg_blocking_pids()`, sampled during the
//! wait.

use std::time::{Duration, Instant};

use pgstrobe_tests::*;

/// Some ticks: each state of the locks is seen more than once.
const WHILE: Duration = Duration::from_millis(700);
/// A look is taken every 100 ms, and takes some time.
const TICK_NS: u64 = 150_000_000;

fn table(cluster: &Cluster) {
    psql(cluster, "CREATE TABLE account (id int PRIMARY KEY, balance int)");
    psql(cluster, "INSERT INTO account SELECT i, 0 FROM generate_series(1, 10) i");
}

/// A connection and the pid of its backend, on this machine.
fn client(cluster: &Cluster, name: &str) -> (Client, u32) {
    let mut client = Client::connect(cluster, name);
    let pid = client.backend(cluster);
    (client, pid)
}

/// Waits until the server sees exactly so many waiters; whom they wait for, over some time.
fn settled(cluster: &Cluster, waiters: usize) -> Edges {
    wait_until("the waiters wait", || blocked(cluster).len() == waiters);
    let edges = blocked(cluster);
    let end = Instant::now() + WHILE;
    while Instant::now() < end {
        std::thread::sleep(WHILE / 5);
        assert_eq!(blocked(cluster), edges, "the locks stay as they are");
    }
    edges
}

fn row(report: &Report, waiter: u32, blocker: u32) -> &Blocking {
    let row = report.blocking.iter().find(|row| row.pids.contains(&waiter) && row.blocker.pid == blocker);
    row.unwrap_or_else(|| panic!("no row for {waiter} behind {blocker}: {:#?}", report.blocking))
}

fn relation(cluster: &Cluster) -> u32 {
    psql(cluster, "SELECT 'account'::regclass::oid").parse().expect("an oid")
}

/// The case at three in the morning: a transaction sits idle on the row, and nothing has ended yet.
#[test]
fn held_by_an_idle_transaction() {
    let cluster = quiet_cluster();
    table(&cluster);
    let (mut holder, holder_pid) = client(&cluster, "holder");
    let (mut waiter, waiter_pid) = client(&cluster, "waiter");
    let profile = Profile::start(&cluster, &[]);
    holder.ask("BEGIN");
    holder.ask("UPDATE account SET balance = length('xyzzy_secret') WHERE id = 1");
    let idle_from = Instant::now();
    let sent = Instant::now();
    waiter.send("UPDATE account SET balance = length('xyzzy_secret') WHERE id = 1");
    wait_until("the waiter waits", || blocked(&cluster).len() == 1);
    let waits = Instant::now();
    let edges = settled(&cluster, 1);
    let (least, idle) = (waits.elapsed(), idle_from.elapsed());
    let tick = TICK_NS + profile.waited_ns();
    let (report, json) = profile.stop_raw();
    let most = sent.elapsed();
    holder.ask("COMMIT");
    waiter.answer().expect("the update");

    assert_eq!(edges, Edges::from([(waiter_pid, [holder_pid].into())]));
    assert_eq!(blocked_in(&report), edges);
    assert_eq!(report.blocking.len(), 1, "{:#?}", report.blocking);
    let row = &report.blocking[0];
    assert_eq!((row.wait_event_type.as_str(), row.wait_event.as_str()), ("Lock", "transactionid"));
    assert_eq!((row.count, row.waiting, row.cycle), (1, 1, false), "{row:#?}");
    assert_eq!(row.query, "UPDATE account SET balance = length($1) WHERE id = $2;");
    assert_eq!((row.mode.as_deref(), row.relation), (Some("ShareLock"), None));
    assert_eq!(row.chain, Vec::<String>::new());
    let blocker = &row.blocker;
    assert_eq!((blocker.role.as_str(), blocker.state.as_str()), ("client backend", "idle in transaction"));
    assert_eq!(blocker.query.as_deref(), Some("UPDATE account SET balance = length($1) WHERE id = $2;"));
    let seen = blocker.idle_in_transaction_ns;
    let idle_ns = idle.as_nanos() as u64;
    assert!(seen + tick >= idle_ns, "idle for {seen} ns, by the clock {idle_ns} ns");
    assert!(row.total_ns + tick >= least.as_nanos() as u64, "{} ns, at least {least:?}", row.total_ns);
    assert!(row.total_ns <= most.as_nanos() as u64, "{} ns, at most {most:?}", row.total_ns);
    assert_eq!(row.max_ns, row.total_ns);
    assert!(!json.contains("xyzzy_secret"), "literals stay home");
    assert_nothing_lost(&report);
}

/// The server publishes no texts and no states: what is left is what the kernel side saw.
#[test]
fn without_activities() {
    let cluster = quiet_with(&["track_activities = off"]);
    table(&cluster);
    let (mut holder, holder_pid) = client(&cluster, "holder");
    let (mut waiter, waiter_pid) = client(&cluster, "waiter");
    let profile = Profile::start(&cluster, &["--interval", "0.4"]);
    holder.ask("BEGIN");
    holder.ask("UPDATE account SET balance = 1 WHERE id = 1");
    waiter.send("UPDATE account SET balance = 2 WHERE id = 1");
    wait_until("the waiter waits", || waits(&cluster));
    let began = Instant::now();
    std::thread::sleep(2 * WHILE);
    let (least, tick) = (began.elapsed(), TICK_NS + profile.waited_ns());
    let reports = profile.stop_all();
    holder.ask("COMMIT");
    waiter.answer().expect("the update");
    let seen: Vec<_> = reports.iter().filter(|report| !report.blocking.is_empty()).collect();
    assert!(seen.len() >= 3, "in each interval");
    for report in &seen {
        assert_eq!(blocked_in(report), Edges::from([(waiter_pid, [holder_pid].into())]));
        let row = row(report, waiter_pid, holder_pid);
        assert_eq!((row.blocker.state.as_str(), row.blocker.query.as_deref()), ("idle in transaction", None));
        assert!(row.total_ns <= report.duration_ns + tick, "of the interval: {row:#?}");
    }
    // The intervals share the wait among them.
    let total: u64 = seen.iter().map(|report| report.blocking[0].total_ns).sum();
    assert!(total + tick >= least.as_nanos() as u64, "{total} ns in all, at least {least:?}");
}

/// By `pg_locks`, which needs no activities.
fn waits(cluster: &Cluster) -> bool {
    psql(cluster, "SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"
}

/// The holder works on, in the same transaction; the wait is over when the report is written.
#[test]
fn held_by_a_working_transaction() {
    let cluster = quiet_cluster();
    table(&cluster);
    let (mut holder, holder_pid) = client(&cluster, "holder");
    let (mut waiter, waiter_pid) = client(&cluster, "waiter");
    let profile = Profile::start(&cluster, &[]);
    holder.ask("BEGIN");
    holder.ask("UPDATE account SET balance = 1 WHERE id = 1");
    holder.send("SELECT pg_sleep(3)");
    waiter.send("UPDATE account SET balance = 2 WHERE id = 1");
    wait_until("the waiter waits", || blocked(&cluster).len() == 1);
    let began = Instant::now();
    let edges = settled(&cluster, 1);
    holder.answer().expect("the sleep");
    let least = began.elapsed();
    holder.ask("COMMIT");
    waiter.answer().expect("the update");
    let tick = TICK_NS + profile.waited_ns();
    let report = profile.stop();

    assert_eq!(edges, Edges::from([(waiter_pid, [holder_pid].into())]));
    assert_eq!(blocked_in(&report), edges);
    let row = row(&report, waiter_pid, holder_pid);
    assert_eq!((row.count, row.waiting), (1, 0), "{row:#?}");
    assert!(row.total_ns + tick >= least.as_nanos() as u64, "{} ns, at least {least:?}", row.total_ns);
    // Between the end of the sleep and the commit it may have been seen idle.
    if row.blocker.state == "active" {
        assert_eq!(row.blocker.query.as_deref(), Some("SELECT pg_sleep($1);"));
        assert!(row.blocker.running_ns > 2_000_000_000, "{row:#?}");
    }
    assert_nothing_lost(&report);
}

/// A table is to be repacked: the exclusive lock stands behind two long readers, and everybody else behind it. First it
/// gives up after a while, then it stays, and at last it holds the table.
#[test]
fn an_exclusive_lock_behind_readers_and_readers_behind_it() {
    let cluster = quiet_cluster();
    table(&cluster);
    let (mut long, long_pid) = client(&cluster, "long reader");
    let (mut other, other_pid) = client(&cluster, "other reader");
    let (mut repack, repack_pid) = client(&cluster, "repack");
    let (mut reader, reader_pid) = client(&cluster, "reader");
    let (mut writer, writer_pid) = client(&cluster, "writer");
    let profile = Profile::start(&cluster, &[]);
    for client in [&mut long, &mut other] {
        client.ask("BEGIN");
        client.ask("SELECT count(*) FROM account");
    }
    long.send("SELECT pg_sleep(5)");
    repack.ask("SET lock_timeout = '700ms'");
    repack
        .send("DO $$ BEGIN LOCK TABLE account IN ACCESS EXCLUSIVE MODE; EXCEPTION WHEN lock_not_available THEN END $$");
    wait_until("the first attempt waits", || blocked(&cluster).len() == 1);
    repack.answer().expect("the attempt gives up");
    assert!(blocked(&cluster).is_empty(), "it gave up");
    repack.ask("SET lock_timeout = 0");
    repack.ask("BEGIN");
    repack.send("LOCK TABLE account IN ACCESS EXCLUSIVE MODE");
    wait_until("the second attempt waits", || blocked(&cluster).len() == 1);
    reader.send("SELECT count(*) FROM account");
    writer.send("DELETE FROM account WHERE id = 3");
    let edges = settled(&cluster, 3);
    let report = profile.stop();

    let readers = [long_pid, other_pid].into();
    let behind =
        Edges::from([(repack_pid, readers), (reader_pid, [repack_pid].into()), (writer_pid, [repack_pid].into())]);
    assert_eq!(edges, behind);
    assert_eq!(blocked_in(&report), edges);
    let relation = Some(relation(&cluster));
    // The attempt that gave up is of another class.
    let repacks: Vec<_> = report.blocking.iter().filter(|row| row.pids == [repack_pid]).collect();
    assert_eq!(repacks.len(), 4, "{repacks:#?}");
    for row in &repacks {
        assert_eq!((row.count, row.relation, row.mode.as_deref()), (1, relation, Some("AccessExclusiveLock")));
        assert_eq!(row.waiting, row.query.starts_with("LOCK") as u64, "{row:#?}");
        let expected = if row.blocker.pid == long_pid { "active" } else { "idle in transaction" };
        assert_eq!(row.blocker.state, expected);
        assert!(row.chain.is_empty(), "{row:#?}");
    }
    for (pid, mode) in [(reader_pid, "AccessShareLock"), (writer_pid, "RowExclusiveLock")] {
        let row = row(&report, pid, repack_pid);
        assert_eq!((row.wait_event.as_str(), row.relation, row.mode.as_deref()), ("relation", relation, Some(mode)));
        assert_eq!((row.count, row.waiting, row.blocker.state.as_str()), (1, 1, "waiting"));
        // It waits for two, in the order in which they stand at the lock.
        let chain = |first: u32| {
            format!(
                "pid {repack_pid} (LOCK TABLE account IN ACCESS EXCLUSIVE MODE;) waits for Lock:relation of pid {first} and 1 more"
            )
        };
        assert!([vec![chain(long_pid)], vec![chain(other_pid)]].contains(&row.chain), "{row:#?}");
    }
    assert_nothing_lost(&report);

    // The readers end, and the lock is had: now it is held against the others.
    let profile = Profile::start(&cluster, &[]);
    assert!(long.answer().is_some() && blocked(&cluster).len() == 3);
    long.ask("COMMIT");
    other.ask("COMMIT");
    repack.answer().expect("the lock");
    let edges = settled(&cluster, 2);
    let report = profile.stop();
    assert_eq!(edges, Edges::from([(reader_pid, [repack_pid].into()), (writer_pid, [repack_pid].into())]));
    for pid in [reader_pid, writer_pid] {
        let row = row(&report, pid, repack_pid);
        assert_eq!((row.count, row.waiting, row.blocker.state.as_str()), (1, 1, "idle in transaction"), "{row:#?}");
    }
    repack.ask("COMMIT");
    reader.answer().expect("the count");
    writer.answer().expect("the delete");
    assert_nothing_lost(&report);
}

/// A waits for nobody, B for A, C for B, D for C.
#[test]
fn a_chain_is_followed_to_its_root() {
    let cluster = quiet_cluster();
    table(&cluster);
    let mut clients: Vec<_> = ["a", "b", "c", "d"].map(|name| client(&cluster, name)).into();
    let pids: Vec<u32> = clients.iter().map(|(_, pid)| *pid).collect();
    let profile = Profile::start(&cluster, &[]);
    for (id, (client, _)) in clients.iter_mut().enumerate() {
        client.ask("BEGIN");
        client.ask(&format!("UPDATE account SET balance = 1 WHERE id = {id} + 1"));
    }
    for (id, (client, _)) in clients.iter_mut().enumerate().skip(1) {
        client.send(&format!("UPDATE account SET balance = 2 WHERE id = {id}"));
        wait_until("it waits", || blocked(&cluster).len() == id);
    }
    let edges = settled(&cluster, 3);
    let report = profile.stop();

    let expected = [1, 2, 3].map(|i| (pids[i], [pids[i - 1]].into()));
    assert_eq!(edges, Edges::from(expected));
    assert_eq!(blocked_in(&report), edges);
    let link = |i: usize| {
        let (own, next) = (pids[i], pids[i - 1]);
        format!("pid {own} (UPDATE account SET balance = $1 WHERE id = $2;) waits for Lock:transactionid of pid {next}")
    };
    for i in 1..4 {
        let row = row(&report, pids[i], pids[i - 1]);
        assert_eq!(row.chain, (1..i).rev().map(link).collect::<Vec<_>>());
        assert_eq!(row.blocker.state, if i == 1 { "idle in transaction" } else { "active" });
        assert!(!row.cycle && row.waiting == 1, "{row:#?}");
    }
    assert_nothing_lost(&report);
}

/// Two wait for each other until the server ends it.
#[test]
fn a_deadlock_is_a_cycle() {
    let cluster = quiet_with(&["deadlock_timeout = 3s"]);
    table(&cluster);
    let (mut a, a_pid) = client(&cluster, "a");
    let (mut b, b_pid) = client(&cluster, "b");
    let profile = Profile::start(&cluster, &[]);
    for (client, id) in [(&mut a, 1), (&mut b, 2)] {
        client.ask("BEGIN");
        client.ask(&format!("UPDATE account SET balance = 1 WHERE id = {id}"));
    }
    a.send("UPDATE account SET balance = 2 WHERE id = 2");
    b.send("UPDATE account SET balance = 2 WHERE id = 1");
    let edges = settled(&cluster, 2);
    let answers = [a.answer(), b.answer()];
    let report = profile.stop();

    assert_eq!(answers.iter().flatten().count(), 1, "one of them was ended: {answers:?}");
    assert_eq!(edges, Edges::from([(a_pid, [b_pid].into()), (b_pid, [a_pid].into())]));
    assert_eq!(blocked_in(&report), edges);
    for (waiter, blocker) in [(a_pid, b_pid), (b_pid, a_pid)] {
        let row = row(&report, waiter, blocker);
        assert!(row.cycle && row.waiting == 0 && row.count == 1, "{row:#?}");
        assert_eq!(row.chain.len(), 2, "there and back: {row:#?}");
    }
    assert_nothing_lost(&report);
}

/// A prepared transaction holds its locks without a process: the server calls it 0.
#[test]
fn held_by_a_prepared_transaction() {
    let cluster = quiet_with(&["max_prepared_transactions = 2"]);
    table(&cluster);
    let (mut waiter, waiter_pid) = client(&cluster, "waiter");
    psql(&cluster, "BEGIN; UPDATE account SET balance = 1 WHERE id = 1; PREPARE TRANSACTION 'forgotten'");
    let profile = Profile::start(&cluster, &[]);
    waiter.send("UPDATE account SET balance = 2 WHERE id = 1");
    let edges = settled(&cluster, 1);
    let report = profile.stop();
    assert_eq!(edges, Edges::from([(waiter_pid, [0].into())]));
    assert_eq!(blocked_in(&report), edges);
    assert_eq!(row(&report, waiter_pid, 0).blocker.role, "prepared transaction");
    assert_nothing_lost(&report);
    psql(&cluster, "COMMIT PREPARED 'forgotten'");
    waiter.answer().expect("the update");
}

/// A wait that began before the profile counts from its beginning.
#[test]
fn a_wait_that_was_there_before() {
    let cluster = quiet_cluster();
    psql(&cluster, "CREATE TABLE account (id int PRIMARY KEY, balance int); INSERT INTO account VALUES (1, 0)");
    let (mut holder, mut waiter) = (Client::connect(&cluster, "holder"), Client::connect(&cluster, "waiter"));
    holder.ask("BEGIN");
    holder.ask("UPDATE account SET balance = 1");
    waiter.send("UPDATE account SET balance = 2");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'";
    wait_until("the waiter waits", || psql(&cluster, waiting) == "1");
    let profile = Profile::start(&cluster, &[]);
    std::thread::sleep(Duration::from_millis(300));
    holder.ask("COMMIT");
    waiter.answer();
    std::thread::sleep(Duration::from_millis(300));
    let report = profile.stop();
    assert!(!report.blocking.is_empty());
    let longest = report.blocking.iter().map(|row| row.max_ns).max();
    assert!(longest <= Some(report.duration_ns), "{:?}", report.blocking);
}
