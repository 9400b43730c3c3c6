//! From rows by process to the tables of the report.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use pgstrobe_common::block::{
    BlockKey, OP_DISCARD, OP_FLUSH, OP_OTHER, OP_READ, OP_SYNC, OP_WRITE, OPS, OWNER, OWNER_BACKEND, OWNER_PROCESS,
    OWNER_THREAD, cluster_of,
};

use super::{
    devices::{self, Devices},
    owner::Owners,
    sum::Sum,
};
use crate::report::model::{Block, BlockBy, BlockDevice, BlockNoise, BlockOwner};
use crate::vocabulary::{Operation, OwnerKind};

/// Rows of a table that are kept apart; the rest is added up by device and operation.
const MOST_ROWS: usize = 200;

const OPERATIONS: [(u32, Operation); OPS as usize] = [
    (OP_READ, Operation::Read),
    (OP_WRITE, Operation::Write),
    (OP_FLUSH, Operation::Flush),
    (OP_DISCARD, Operation::Discard),
    (OP_SYNC, Operation::Sync),
    (OP_OTHER, Operation::Other),
];

/// What a request does, in a word.
pub fn operation(op: u32) -> Operation {
    OPERATIONS.iter().find(|(known, _)| *known == op).map_or(Operation::Other, |(_, operation)| *operation)
}

/// What the numbers in keys mean.
pub struct View<'a> {
    pub devices: &'a Devices,
    /// How long devices were busy, in nanoseconds.
    pub busy_ns: &'a BTreeMap<u32, u64>,
    pub owners: Owners<'a>,
}

impl View<'_> {
    pub fn block(&self, sums: Vec<(BlockKey, Sum)>, duration_ns: u64) -> Block {
        let mut devices: HashMap<u32, Vec<(BlockKey, Sum)>> = HashMap::new();
        let mut by: HashMap<(u32, BlockOwner, u32), Sum> = HashMap::new();
        let mut noise: HashMap<(u32, BlockOwner), Sum> = HashMap::new();
        let mut processes: HashMap<(u32, BlockOwner), HashSet<u32>> = HashMap::new();
        for (key, sum) in &sums {
            let owner = BlockOwner { pid: None, ..self.owners.name(key, &sum.comm) };
            // Those that are gone have no number: they are one more.
            if matches!(key.owner & OWNER, OWNER_BACKEND | OWNER_PROCESS | OWNER_THREAD)
                && owner.kind != OwnerKind::Backend
            {
                processes.entry((key.device, owner)).or_default().insert(key.pid);
            }
        }
        for (key, sum) in sums {
            let mut owner = self.owners.name(&key, &sum.comm);
            // In a cgroup of their own, those of one name are one; in that of the cluster, the process counts.
            let pid = if owner.cgroup != self.owners.own { owner.pid.take() } else { None };
            if processes.get(&(key.device, owner.clone())).is_some_and(|pids| pids.len() == 1) {
                owner.pid = pid;
            }
            if !sum.is_empty() {
                by.entry((key.device, owner.clone(), key.op)).or_default().add(&sum);
            }
            if !owner.cluster {
                noise.entry((key.device, owner)).or_default().add(&sum);
            }
            devices.entry(key.device).or_default().push((key, sum));
        }
        let mut devices: Vec<BlockDevice> = devices.iter().map(|(device, rows)| self.device(*device, rows)).collect();
        let time = |one: &BlockDevice| {
            one.busy_ns.map_or(0, |ns| ns.min(duration_ns)).max(one.waited_own_ns + one.waited_others_ns)
        };
        devices.sort_by_key(|one| (Reverse(time(one)), one.device.clone()));
        noise.retain(|_, sum| sum.delay.count > 0);
        Block { cgroup: self.owners.own.to_owned(), devices, by: self.by(by), noise: self.noise(noise) }
    }

    fn device(&self, device: u32, rows: &[(BlockKey, Sum)]) -> BlockDevice {
        let known = self.devices.get(device);
        let total = |of: &dyn Fn(&BlockKey) -> bool| {
            let mut all = Sum::default();
            rows.iter().filter(|(key, _)| of(key)).for_each(|(_, sum)| all.add(sum));
            all
        };
        let op = |op: u32| total(&|key| key.op == op).model();
        let own = |key: &BlockKey| cluster_of(key.owner) == self.owners.number;
        BlockDevice {
            number: devices::number(device),
            busy_ns: self.busy_ns.get(&device).copied(),
            device: known.name,
            scheduler: known.scheduler,
            read: op(OP_READ),
            write: op(OP_WRITE),
            flush: op(OP_FLUSH),
            sync: op(OP_SYNC),
            discard: op(OP_DISCARD),
            other: op(OP_OTHER),
            cluster_read: total(&|key| key.op == OP_READ && own(key)).model(),
            cluster_write: total(&|key| key.op == OP_WRITE && own(key)).model(),
            waited_own_ns: total(&own).delay.ns,
            waited_others_ns: total(&|key| !own(key)).delay.ns,
        }
    }

    fn by(&self, by: HashMap<(u32, BlockOwner, u32), Sum>) -> Vec<BlockBy> {
        let mut rows: Vec<_> = by.into_iter().collect();
        rows.sort_by_key(|((device, owner, op), sum)| {
            (Reverse(sum.queue.ns + sum.device.ns), Reverse(sum.requests), *device, *op, owner.name.clone(), owner.pid)
        });
        let mut folded: HashMap<(u32, BlockOwner, u32), Sum> = HashMap::new();
        for ((device, owner, op), sum) in rows.split_off(rows.len().min(MOST_ROWS)) {
            let rest = BlockOwner {
                cluster: owner.cluster,
                kind: OwnerKind::Folded.into(),
                name: "others".into(),
                ..BlockOwner::default()
            };
            folded.entry((device, rest, op)).or_default().add(&sum);
        }
        rows.extend(folded);
        rows.into_iter()
            .map(|((device, owner, op), sum)| BlockBy {
                device: self.devices.get(device).name,
                operation: operation(op).into(),
                owner,
                requests: sum.model(),
            })
            .collect()
    }

    fn noise(&self, noise: HashMap<(u32, BlockOwner), Sum>) -> Vec<BlockNoise> {
        let mut rows: Vec<_> = noise.into_iter().collect();
        rows.sort_by_key(|((device, owner), sum)| (Reverse(sum.delay.ns), *device, owner.name.clone(), owner.pid));
        let rows = rows.into_iter().take(MOST_ROWS).map(|((device, owner), sum)| BlockNoise {
            device: self.devices.get(device).name,
            owner,
            requests: sum.requests,
            bytes: sum.bytes,
            delay: sum.delay.summary(),
        });
        rows.collect()
    }
}
