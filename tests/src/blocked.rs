//! Who waits for whom, by the server's own word and by the report.

use std::collections::{BTreeMap, BTreeSet};

use pgstrobe::report::model::Report;
use xtask::cluster::Cluster;

use crate::{pids_by_own, psql};

/// Blockers by waiter, by this machine's pids; 0 is a prepared transaction.
pub type Edges = BTreeMap<u32, BTreeSet<u32>>;

/// What `pg_blocking_pids()` says of every backend.
pub fn blocked(cluster: &Cluster) -> Edges {
    let rows = psql(
        cluster,
        "SELECT pid, array_to_string(pg_blocking_pids(pid), ' ') FROM pg_stat_activity \
         WHERE cardinality(pg_blocking_pids(pid)) > 0",
    );
    let pids = pids_by_own(cluster);
    let host = |own: &str| match own.parse().expect("a pid") {
        0 => 0,
        own => pids[&own],
    };
    let row = |line: &str| {
        let (waiter, blockers) = line.split_once('|').expect("two columns");
        (host(waiter), blockers.split(' ').map(host).collect())
    };
    rows.lines().map(row).collect()
}

/// What the report says of waits for locks.
pub fn blocked_in(report: &Report) -> Edges {
    let mut edges = Edges::new();
    for row in report.blocking.iter().filter(|row| row.wait_event_type == "Lock") {
        for pid in &row.pids {
            edges.entry(*pid).or_default().insert(row.blocker.pid);
        }
    }
    edges
}
