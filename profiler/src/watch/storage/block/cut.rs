//! What the devices of the host did in a stretch of time, and for whom.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use pgstrobe_common::block::{BLOCK_ROWS, BlockKey, DelayKey, OWNER_FOLDED, cluster_of, owner};
use serde::{Deserialize, Serialize};

use super::{
    Block, build, group,
    owner::Owners,
    rows::MOST_GONE,
    sum::{Sum, Times},
};
use crate::{
    report::model::Report,
    time::{Merge, pairs},
    vocabulary::Role,
};

/// Rows kept apart: those of the kernel side, and those of processes that are gone.
const MAX_ROWS: usize = BLOCK_ROWS as usize + MOST_GONE;

/// Requests by whose they are, with the name of the process; and how long they kept servers waiting. A process that is gone has
/// no number, and where there are too many rows, one is that of its device and server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    #[serde(with = "pairs")]
    rows: HashMap<(BlockKey, String), Sum>,
    #[serde(with = "pairs")]
    delays: HashMap<(DelayKey, String), Sum>,
    /// How long devices were busy, in nanoseconds, by number.
    pub(super) busy_ns: BTreeMap<u32, u64>,
}

impl Cut {
    /// Keeps `most` rows apart.
    pub(super) fn add_row(&mut self, key: BlockKey, sum: Sum, most: usize) {
        add(&mut self.rows, key, sum, most, |key| key);
    }

    /// Keeps `most` rows apart.
    pub(super) fn add_delay(&mut self, key: DelayKey, sum: Sum, most: usize) {
        add(&mut self.delays, key, sum, most, |key| &mut key.by);
    }

    /// As the server of that number sees it: how long it waited is in the sums of those it waited for.
    pub fn seen_by(&self, number: u16) -> Vec<(BlockKey, Sum)> {
        let own = |key: &BlockKey| cluster_of(key.owner) == number;
        let rows = self.rows.iter().map(|((key, _), sum)| match own(key) {
            true => (*key, sum.clone()),
            false => (*key, Sum { delay: Times::default(), ..sum.clone() }),
        });
        let delays = self.delays.iter().filter(|((key, _), _)| key.victim == u32::from(number));
        rows.chain(delays.map(|((key, _), sum)| (key.by, sum.clone()))).collect()
    }

    /// Fills the report of the server of that number. `block` says what numbers mean, and the report which roles its backends
    /// have.
    pub fn fill(&self, report: &mut Report, block: &Block, number: u16) {
        let roles: HashMap<u32, Role> =
            report.backends.iter().map(|backend| (backend.pid, backend.role.known().unwrap_or_default())).collect();
        let group = group(&block.names);
        let owners = Owners { roles: &roles, group: &group, number, own: block.own(number) };
        let mut sums = self.seen_by(number);
        for (key, _) in &mut sums {
            key.owner = owners.kind(key);
        }
        let view = build::View { devices: &block.devices, busy_ns: &self.busy_ns, owners };
        report.storage.block = view.block(sums, report.duration_ns);
    }
}

impl Merge for Cut {
    fn merge(&mut self, later: Self) {
        for ((key, _), sum) in largest_first(later.rows, |sum| sum.requests) {
            self.add_row(key, sum, MAX_ROWS);
        }
        for ((key, _), sum) in largest_first(later.delays, |sum| sum.delay.ns) {
            self.add_delay(key, sum, MAX_ROWS);
        }
        Merge::merge(&mut self.busy_ns, later.busy_ns);
    }
}

/// `by` is the row's key within the key.
fn add<K: Copy + Eq + Hash>(
    rows: &mut HashMap<(K, String), Sum>,
    key: K,
    sum: Sum,
    most: usize,
    by: impl FnOnce(&mut K) -> &mut BlockKey,
) {
    let mut key = (key, sum.comm.clone());
    if rows.len() >= most && !rows.contains_key(&key) {
        let by = by(&mut key.0);
        (by.cgroup, by.pid, by.owner) = (0, 0, owner(OWNER_FOLDED, cluster_of(by.owner)));
        key.1.clear();
    }
    match rows.get_mut(&key) {
        Some(row) => row.merge(sum),
        None => drop(rows.insert(key, sum)),
    }
}

/// So that those find room.
fn largest_first<K: Ord>(rows: HashMap<K, Sum>, size: impl Fn(&Sum) -> u64) -> Vec<(K, Sum)> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by(|(a, one), (b, other)| (Reverse(size(one)), a).cmp(&(Reverse(size(other)), b)));
    rows
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::block::{OWNER, OWNER_PROCESS};
    use pgstrobe_common::cluster::NO_CLUSTER;

    use super::*;

    #[test]
    fn what_finds_no_room_is_of_its_device() {
        let of = |pids: std::ops::Range<u32>| {
            let mut cut = Cut::default();
            for pid in pids {
                let key = BlockKey { cgroup: 7, device: 8, pid, op: 1, owner: owner(OWNER_PROCESS, NO_CLUSTER) };
                let sum = Sum { comm: format!("p{pid}"), requests: u64::from(pid), ..Sum::default() };
                cut.add_row(key, sum, MAX_ROWS);
            }
            cut
        };
        let mut merged = of(1..MAX_ROWS as u32);
        merged.merge(of(10_000..10_010));
        let rows = merged.seen_by(0);
        assert_eq!(rows.len(), MAX_ROWS + 1);
        assert!(rows.iter().any(|(key, _)| key.pid == 10_009));
        let folded = rows.iter().find(|(key, _)| key.owner & OWNER == OWNER_FOLDED);
        assert_eq!(folded.map(|(_, sum)| sum.requests), Some((10_000..10_009).sum()));
    }
}
