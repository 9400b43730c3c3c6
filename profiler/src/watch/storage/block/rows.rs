//! The rows of the kernel side: what came to them since the last cut, and an end to those of processes that are gone.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, ensure};
use pgstrobe_common::block::{
    BLOCK_ROWS, BlockKey, BlockRow, DelayKey, Delays, OPS, OWNER, OWNER_BACKEND, OWNER_FOLDED, OWNER_PROCESS,
    OWNER_THREAD, REQUEST_SLOTS, RequestSlot, cluster_of, owner,
};

use super::{
    cut::Cut,
    owner::kind,
    sum::{Sum, Times},
};
use crate::{
    instrument::Instrument,
    maps::Map,
    time::{Gain as _, Merge as _, Since},
    vocabulary::Role,
};

/// From this many rows on, those of processes that are gone are freed. Before, all that a report shows is kept by process.
const CROWDED: usize = BLOCK_ROWS as usize / 4;

/// Kinds of processes that are gone and are kept apart in one cut.
pub(super) const MOST_GONE: usize = 4096;

pub struct Rows {
    rows: Map<BlockKey, BlockRow>,
    delays: Map<DelayKey, Delays>,
    requests: Map<u32, RequestSlot>,
    /// Up to the last cut.
    counted: HashMap<BlockKey, Since<Sum>>,
    delayed: HashMap<DelayKey, Since<Times>>,
    /// Of rows that were freed since then: without a pid, by what they are called.
    gone: Cut,
    /// Processes that were gone at the last look.
    dead: HashSet<u32>,
}

impl Rows {
    /// Takes the maps out of what was loaded.
    ///
    /// # Errors
    /// A map is not there: kernel side and userspace differ.
    pub fn open(instrument: &mut Instrument) -> Result<Self> {
        Ok(Self::of(instrument.table("BLOCKS")?, instrument.table("DELAYS")?, instrument.array("REQUESTS")?))
    }

    fn of(rows: Map<BlockKey, BlockRow>, delays: Map<DelayKey, Delays>, requests: Map<u32, RequestSlot>) -> Self {
        Self {
            rows,
            delays,
            requests,
            counted: HashMap::new(),
            delayed: HashMap::new(),
            gone: Cut::default(),
            dead: HashSet::new(),
        }
    }

    /// Rows for what finds no room, of the server of that number or with `NO_CLUSTER` of none: they must be there before
    /// there is none. Those that are there stay.
    ///
    /// # Errors
    /// The map is full already.
    pub fn make_room(&mut self, devices: impl Iterator<Item = u32>, number: u16) -> Result<()> {
        for device in devices {
            for op in 0..OPS {
                let key = BlockKey { cgroup: 0, device, pid: 0, op, owner: owner(OWNER_FOLDED, number) };
                ensure!(
                    self.rows.add(&key, &BlockRow::EMPTY) || self.rows.get(&key).is_some(),
                    "the map of block requests has no room"
                );
            }
        }
        Ok(())
    }

    pub fn keys(&self) -> Vec<BlockKey> {
        self.rows.keys()
    }

    /// What came since this was last asked.
    pub fn cut(&mut self) -> Cut {
        let mut cut = Cut::default();
        let mut names = HashMap::new();
        for (key, row) in self.rows.entries() {
            let now = Sum::of(&row);
            names.entry(BlockKey { op: 0, ..key }).or_insert_with(|| now.comm.clone());
            let counted = self.counted.entry(key).or_default();
            if !now.since(counted.before()).is_empty() {
                cut.add_row(key, counted.take(now), usize::MAX);
            }
        }
        for (key, delays) in self.delays.entries() {
            let delay = self.delayed.entry(key).or_default().take(Times::of_delays(&delays));
            if delay.count != 0 {
                let comm = names.get(&key.by).cloned().unwrap_or_default();
                cut.add_delay(key, Sum { comm, delay, ..Sum::default() }, usize::MAX);
            }
        }
        cut.merge(std::mem::take(&mut self.gone));
        cut
    }

    /// Frees the rows of processes that are gone; what came to them since the last cut goes to those of their role or
    /// name.
    ///
    /// No count is lost: a process that is gone begins no request, and none of its requests is under way, so that nobody adds
    /// to the row any more. If its number is in use again by then, its rows are those of the new one and stay.
    pub fn free(&mut self, is_alive: &dyn Fn(u32) -> bool, roles: impl FnOnce() -> HashMap<u32, (u16, Role)>) {
        let keys = self.keys();
        if keys.len() < CROWDED {
            return self.dead.clear();
        }
        let of_a_process = |key: &BlockKey| matches!(key.owner & OWNER, OWNER_BACKEND | OWNER_PROCESS | OWNER_THREAD);
        let pids: HashSet<u32> = keys.iter().filter(|key| of_a_process(key)).map(|key| key.pid).collect();
        let dead: HashSet<u32> = pids.into_iter().filter(|pid| !is_alive(*pid)).collect();
        // Twice in a row: its end has been read by now, and its role is known.
        let mut free: HashSet<u32> = dead.intersection(&self.dead).copied().collect();
        self.dead = dead;
        if free.is_empty() {
            return;
        }
        for slot in (0..REQUEST_SLOTS).filter_map(|slot| self.requests.get(&slot)) {
            if slot.request != 0 {
                free.remove(&slot.key.pid);
            }
        }
        let roles = roles();
        // Its delays have no name of their own.
        let mut names = HashMap::new();
        for key in keys.iter().filter(|key| of_a_process(key) && free.contains(&key.pid)) {
            let Some(row) = self.rows.get(key) else { continue };
            let mut sum = self.counted.remove(key).unwrap_or_default().take(Sum::of(&row));
            names.entry(BlockKey { op: 0, ..*key }).or_insert_with(|| sum.comm.clone());
            self.rows.remove(key);
            if !sum.is_empty() {
                let owner = kind(key, roles.get(&key.pid).map(|(number, _)| *number));
                let kept = kept(BlockKey { owner, ..*key }, &mut sum, &roles);
                self.gone.add_row(kept, sum, MOST_GONE);
            }
        }
        for key in self.delays.keys().into_iter().filter(|key| of_a_process(&key.by) && free.contains(&key.by.pid)) {
            let Some(delays) = self.delays.get(&key) else { continue };
            let delay = self.delayed.remove(&key).unwrap_or_default().take(Times::of_delays(&delays));
            self.delays.remove(&key);
            if delay.count != 0 {
                let comm = names.get(&key.by).cloned().unwrap_or_default();
                let mut sum = Sum { comm, delay, ..Sum::default() };
                let by = kept(key.by, &mut sum, &roles);
                self.gone.add_delay(DelayKey { by, ..key }, sum, MOST_GONE);
            }
        }
    }
}

/// What is left of the key of a process that is gone; its name, of a backend its role, is that of the sum.
fn kept(key: BlockKey, sum: &mut Sum, roles: &HashMap<u32, (u16, Role)>) -> BlockKey {
    if key.owner & OWNER == OWNER_BACKEND {
        let known = roles.get(&key.pid).filter(|(number, _)| *number == cluster_of(key.owner));
        sum.comm = known.map_or_else(Role::default, |(_, role)| *role).to_string();
    }
    BlockKey { pid: 0, ..key }
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::{block::bucket, cluster::NO_CLUSTER};

    use super::*;

    const CLIENT: u32 = 40;

    fn roles() -> HashMap<u32, (u16, Role)> {
        HashMap::from([(CLIENT, (0, Role::ClientBackend)), (CLIENT + 1, (0, Role::ClientBackend))])
    }

    fn key(pid: u32, kind: u32, cluster: u16) -> BlockKey {
        BlockKey { cgroup: 0, device: 8, pid, op: 1, owner: owner(kind, cluster) }
    }

    fn row(requests: u64) -> BlockRow {
        let mut row = BlockRow { requests, bytes: requests * 512, ..BlockRow::EMPTY };
        row.comm[..3].copy_from_slice(b"fio");
        row
    }

    /// Enough rows that those of processes that are gone are freed.
    fn crowded() -> Rows {
        let mut rows = Rows::of(
            Box::new(HashMap::<BlockKey, BlockRow>::new()),
            Box::new(HashMap::<DelayKey, Delays>::new()),
            Box::new(HashMap::<u32, RequestSlot>::new()),
        );
        for pid in 0..CROWDED as u32 {
            rows.rows.set(&key(100_000 + pid, OWNER_PROCESS, NO_CLUSTER), &row(0)).expect("a table in memory");
        }
        rows
    }

    fn free(rows: &mut Rows, gone: &[u32]) {
        for _ in 0..2 {
            rows.free(&|pid| !gone.contains(&pid), roles);
        }
    }

    fn requests(sums: &[(BlockKey, Sum)], kind: u32) -> u64 {
        sums.iter().filter(|(key, _)| key.owner & OWNER == kind).map(|(_, sum)| sum.requests).sum()
    }

    #[test]
    fn what_ended_processes_did_is_counted_once_and_with_its_role() {
        let mut rows = crowded();
        let (first, second) = (key(CLIENT, OWNER_BACKEND, 0), key(CLIENT + 1, OWNER_BACKEND, 0));
        rows.rows.set(&first, &row(10)).expect("a table in memory");
        assert_eq!(requests(&rows.cut().seen_by(0), OWNER_BACKEND), 10);
        rows.rows.set(&first, &row(17)).expect("a table in memory");
        rows.rows.set(&second, &row(5)).expect("a table in memory");
        rows.rows.set(&key(50, OWNER_PROCESS, NO_CLUSTER), &row(3)).expect("a table in memory");
        free(&mut rows, &[CLIENT, CLIENT + 1, 50]);
        assert!(rows.rows.get(&first).is_none() && rows.rows.get(&second).is_none());
        // One of the number comes again.
        rows.rows.set(&first, &row(1)).expect("a table in memory");
        let sums = rows.cut().seen_by(0);
        assert_eq!((requests(&sums, OWNER_BACKEND), requests(&sums, OWNER_PROCESS)), (7 + 5 + 1, 3));
        let both = sums.iter().find(|(key, sum)| key.pid == 0 && sum.comm == "client backend");
        assert_eq!(both.map(|(_, sum)| (sum.requests, sum.bytes)), Some((12, 12 * 512)));
        assert!(rows.cut().seen_by(0).is_empty());
    }

    /// Processes of the numbers 1 to 5 have made so many requests, each slower than the one before.
    fn requested(rows: &mut Rows, requests: u64) {
        for pid in 1..=5 {
            let mut row = row(requests * u64::from(pid));
            for ns in (1..=row.requests).map(|n| n * 3_000) {
                row.issued += 1;
                row.device_ns += ns;
                row.device_max_ns = ns;
                row.device[bucket(ns) as usize / 2] += 1 << (bucket(ns) % 2 * 32);
            }
            row.own = Delays { count: requests, ns: requests * 10, max_ns: 10, ..Delays::EMPTY };
            let key = key(pid, OWNER_PROCESS, NO_CLUSTER);
            rows.rows.set(&key, &row).expect("a table in memory");
            let delay = DelayKey { by: BlockKey { op: 0, ..key }, victim: 0, _pad: 0 };
            rows.delays.set(&delay, &row.own).expect("a table in memory");
        }
    }

    #[test]
    fn two_parts_are_the_whole() {
        let (mut rows, mut parts, mut merged) = (crowded(), crowded(), Cut::default());
        requested(&mut rows, 90);
        for requests in [40, 41, 90] {
            requested(&mut parts, requests);
            merged.merge(parts.cut());
        }
        let whole = rows.cut();
        assert_eq!(merged, whole);
        let kept = serde_json::to_string(&merged).expect("plain data");
        assert_eq!(serde_json::from_str::<Cut>(&kept).expect("what was written"), whole);
        // Where processes end in between, their sums are the same.
        requested(&mut rows, 95);
        requested(&mut parts, 92);
        let mut merged = parts.cut();
        requested(&mut parts, 95);
        free(&mut parts, &[1, 2, 3]);
        merged.merge(parts.cut());
        let total = |cut: &Cut| {
            let mut all = Sum::default();
            cut.seen_by(0).iter().for_each(|(_, sum)| all.add(sum));
            (all.requests, all.bytes, all.device.count, all.device.ns, all.delay.count, all.delay.ns)
        };
        assert_eq!(total(&merged), total(&rows.cut()));
    }

    #[test]
    fn a_row_with_a_request_under_way_stays() {
        let mut rows = crowded();
        let one = key(CLIENT, OWNER_BACKEND, 0);
        rows.rows.set(&one, &row(10)).expect("a table in memory");
        let slot = RequestSlot { request: 9, key: one, ..RequestSlot::default() };
        rows.requests.set(&3, &slot).expect("a table in memory");
        free(&mut rows, &[CLIENT]);
        assert!(rows.rows.get(&one).is_some());
        rows.requests.set(&3, &RequestSlot { request: 0, ..slot }).expect("a table in memory");
        free(&mut rows, &[CLIENT]);
        assert!(rows.rows.get(&one).is_none());
        assert_eq!(requests(&rows.cut().seen_by(0), OWNER_BACKEND), 10);
    }

    #[test]
    fn each_server_sees_its_own_waits() {
        let mut rows = crowded();
        let delays = |ns| Delays { count: 1, ns, max_ns: ns, ..Delays::EMPTY };
        let ours = key(CLIENT, OWNER_BACKEND, 0);
        rows.rows.set(&ours, &BlockRow { own: delays(7), ..row(1) }).expect("a table in memory");
        let theirs = key(CLIENT + 1, OWNER_BACKEND, 1);
        rows.rows.set(&theirs, &BlockRow { own: delays(11), ..row(1) }).expect("a table in memory");
        for (by, victim, ns) in [(theirs, 0, 100), (ours, 1, 1_000)] {
            let key = DelayKey { by: BlockKey { op: 0, ..by }, victim, _pad: 0 };
            rows.delays.set(&key, &delays(ns)).expect("a table in memory");
        }
        let seen = |sums: &[(BlockKey, Sum)], own: u16| {
            let of = |own: bool, to: u16| {
                let rows = sums.iter().filter(|(key, _)| (cluster_of(key.owner) == to) == own);
                rows.map(|(_, sum)| sum.delay.ns).sum::<u64>()
            };
            (of(true, own), of(false, own))
        };
        let cut = rows.cut();
        assert_eq!(seen(&cut.seen_by(0), 0), (7, 100));
        assert_eq!(seen(&cut.seen_by(1), 1), (11, 1_000));
        // And when the processes are gone.
        for (key, row) in rows.rows.entries().filter(|(key, _)| key.owner & OWNER == OWNER_BACKEND).collect::<Vec<_>>()
        {
            let twice = Delays { count: 2, ns: row.own.ns * 2, ..row.own };
            rows.rows
                .set(&key, &BlockRow { requests: row.requests + 1, own: twice, ..row })
                .expect("a table in memory");
        }
        for (key, known) in rows.delays.entries().collect::<Vec<_>>() {
            let twice = Delays { count: 2, ns: known.ns * 2, ..known };
            rows.delays.set(&key, &twice).expect("a table in memory");
        }
        free(&mut rows, &[CLIENT, CLIENT + 1]);
        assert!(rows.delays.keys().is_empty());
        let cut = rows.cut();
        let unnamed =
            |sums: &[(BlockKey, Sum)]| sums.iter().any(|(_, sum)| sum.delay.count != 0 && sum.comm.is_empty());
        assert!(!unnamed(&cut.seen_by(0)) && !unnamed(&cut.seen_by(1)));
        assert_eq!((seen(&cut.seen_by(0), 0), seen(&cut.seen_by(1), 1)), ((7, 100), (11, 1_000)));
    }
}
