//! Every build of every supported version: holders and those ahead in the queue, as `pg_blocking_pids()` names them. The
//! layout of the lock table is proven against each live server.

use std::time::Duration;

use pgstrobe_tests::*;

every_build!(check);

fn check(build: Build) {
    match build.provide() {
        Ok(server) => blockers(&cluster(server.with(QUIET))),
        Err(error) => skip!("{}: {error:#}", build.name),
    }
}

/// A row held by an idle transaction, three that wait for it, and a lock of the table with one queued behind it.
fn blockers(cluster: &Cluster) {
    psql(cluster, "CREATE TABLE account (id int PRIMARY KEY, balance int)");
    psql(cluster, "INSERT INTO account VALUES (1, 0)");
    let mut clients =
        ["holder", "first", "second", "third", "exclusive", "behind"].map(|name| Client::connect(cluster, name));
    let pids = clients.each_mut().map(|client| client.backend(cluster));
    let [holder, first, second, third, exclusive, behind] = &mut clients;
    let profile = Profile::start(cluster, &[]);
    holder.ask("BEGIN");
    holder.ask("UPDATE account SET balance = 1");
    let steps = [
        (first, "UPDATE account SET balance = 2"),
        (second, "UPDATE account SET balance = 3"),
        (third, "UPDATE account SET balance = 4"),
        (exclusive, "BEGIN; LOCK TABLE account"),
        (behind, "SELECT count(*) FROM account"),
    ];
    for (n, (client, sql)) in steps.into_iter().enumerate() {
        client.send(sql);
        wait_until("it waits", || blocked(cluster).len() == n + 1);
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut edges = blocked(cluster);
    let report = profile.stop();

    let [holder, first, second, third, exclusive, behind] = pids;
    assert_eq!(edges[&first], [holder].into());
    assert_eq!(edges[&second], [first].into());
    assert_eq!(edges[&third], [first, second].into());
    assert_eq!(edges[&exclusive], [holder, first, second, third].into());
    assert_eq!(edges[&behind], [exclusive].into());
    // The second only stands before it, behind the same holder.
    edges.insert(third, [first].into());
    assert_eq!(blocked_in(&report), edges);
    let row = |waiter: u32| report.blocking.iter().find(|row| row.pids.contains(&waiter)).expect("a row");
    let names = |waiter: u32| (row(waiter).wait_event.as_str(), row(waiter).mode.as_deref());
    assert_eq!(names(first), ("transactionid", Some("ShareLock")));
    assert_eq!(names(second), ("tuple", Some("ExclusiveLock")));
    assert_eq!(names(exclusive), ("relation", Some("AccessExclusiveLock")));
    assert_eq!(
        (row(first).blocker.state.as_str(), row(behind).blocker.state.as_str()),
        ("idle in transaction", "waiting")
    );
    assert_eq!(row(first).blocker.query.as_deref(), Some("UPDATE account SET balance = $1;"));
    let relation: u32 = psql(cluster, "SELECT 'account'::regclass::oid").parse().expect("an oid");
    for pid in [second, third, exclusive, behind] {
        assert_eq!(row(pid).relation, Some(relation));
    }
    assert!(report.blocking.iter().all(|row| row.waiting == row.count && !row.cycle), "{:#?}", report.blocking);
    assert_nothing_lost(&report);
}
