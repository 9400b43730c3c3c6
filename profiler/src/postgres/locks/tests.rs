//! The reader against a synthetic lock table, and against garbage.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::postgres::layout::{self, Layout};

const PAGE: u64 = 4096;
const LOCK: u64 = 0x7f00_0000_0000;
const PROCS: u64 = 0x7f00_0010_0000;
const PROCLOCKS: u64 = 0x7f00_0020_0000;
const RELATION: u8 = 0;
const EXCLUSIVE: u32 = 8;
const SHARE: u32 = 1;

/// One process at the lock.
#[derive(Clone, Copy)]
struct At {
    holds: u32,
    /// 0 when it does not wait.
    waits: u32,
    leader: usize,
}

/// A lock table with one lock: process `n` has pid 100 + `n`; those that wait stand in the queue in their order.
#[derive(Clone)]
struct Table {
    layout: &'static Layout,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Table {
    fn of(major: u32, all: &[At]) -> Self {
        let layout = layout::for_major(major).unwrap();
        let mut table = Self { layout, pages: BTreeMap::new() };
        let (fields, user) = (&layout.fields, &layout.user);
        let mask = |of: fn(&At) -> u32| all.iter().fold(0, |mask, at| mask | of(at));
        table.put(LOCK + u64::from(user.lock_field1), &5u32.to_le_bytes());
        table.put(LOCK + u64::from(user.lock_field2), &16_384u32.to_le_bytes());
        table.put(LOCK + u64::from(user.lock_type), &[RELATION, 1]);
        table.put(LOCK + u64::from(user.lock_grant_mask), &mask(|at| bits(at.holds)).to_le_bytes());
        table.put(LOCK + u64::from(user.lock_wait_mask), &mask(|at| bits(at.waits)).to_le_bytes());
        for (n, at) in all.iter().enumerate() {
            let (proc, holder) = (proc(n), PROCLOCKS + n as u64 * PAGE);
            table.put(proc, &[0; PAGE as usize]);
            table.put(proc + u64::from(fields.proc_pid), &(100 + n as u32).to_le_bytes());
            if at.waits != 0 {
                table.put(proc + u64::from(user.proc_wait_lock), &LOCK.to_le_bytes());
                table.put(proc + u64::from(user.proc_wait_lock_mode), &at.waits.to_le_bytes());
                table.put(proc + u64::from(fields.proc_wait_event), &0x0300_0000u32.to_le_bytes());
            }
            table.put(holder + u64::from(user.proclock_lock), &LOCK.to_le_bytes());
            table.put(holder + u64::from(user.proclock_proc), &proc.to_le_bytes());
            table.put(holder + u64::from(user.proclock_group_leader), &self::proc(at.leader).to_le_bytes());
            table.put(holder + u64::from(user.proclock_hold_mask), &bits(at.holds).to_le_bytes());
        }
        let links = (0..all.len()).map(|n| PROCLOCKS + n as u64 * PAGE + u64::from(user.proclock_link));
        table.link(LOCK + u64::from(user.lock_proc_locks), links.collect());
        let waiting = (0..all.len()).filter(|n| all[*n].waits != 0).map(|n| proc(n) + u64::from(user.proc_links));
        table.link(LOCK + u64::from(user.lock_wait_procs), waiting.collect());
        table
    }

    fn link(&mut self, head: u64, nodes: Vec<u64>) {
        let mut at = head;
        for node in nodes.into_iter().chain([head]) {
            self.put(at + NEXT, &node.to_le_bytes());
            at = node;
        }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let page = self.pages.entry(at / PAGE * PAGE).or_insert_with(|| vec![0; PAGE as usize]);
        page[(at % PAGE) as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let page = self.pages.get(&(at / PAGE * PAGE));
        let Some(bytes) = page.and_then(|page| page.get((at % PAGE) as usize..)?.get(..into.len())) else {
            return false;
        };
        into.copy_from_slice(bytes);
        true
    }

    /// Pids that the process waits for, and whether each only stands before it.
    fn blockers(&self, n: usize) -> Result<Vec<(u32, bool)>, Doubt> {
        let wait = self.wait(n, 8192)?;
        Ok(wait.into_iter().flat_map(|wait| wait.blockers).map(|by| (by.process.pid, by.queued)).collect())
    }

    fn wait(&self, n: usize, budget: usize) -> Result<Option<Wait>, Doubt> {
        let read = |at: u64, into: &mut [u8]| self.read(at, into);
        let mut locks = Locks::new(&self.layout.fields, &self.layout.user, &read, budget).unwrap();
        locks.wait(Process { proc: proc(n), pid: 100 + n as u32 })
    }
}

fn proc(n: usize) -> u64 {
    PROCS + n as u64 * PAGE
}

fn bits(mode: u32) -> u32 {
    if mode == 0 { 0 } else { 1 << mode }
}

fn at(n: usize, holds: u32, waits: u32) -> At {
    At { holds, waits, leader: n }
}

/// A reader holds, an exclusive lock waits, two readers wait behind it.
fn behind_an_exclusive_lock() -> [At; 4] {
    [at(0, SHARE, 0), at(1, 0, EXCLUSIVE), at(2, 0, SHARE), at(3, 0, SHARE)]
}

#[test]
fn holders_and_those_ahead_with_a_conflict() {
    for major in 13..=18 {
        let table = Table::of(major, &behind_an_exclusive_lock());
        assert_eq!(table.wait(0, 100), Ok(None));
        assert_eq!(table.blockers(1), Ok(vec![(100, false)]));
        assert_eq!(table.blockers(2), Ok(vec![(101, true)]), "{major}: not the reader that holds");
        assert_eq!(table.blockers(3), Ok(vec![(101, true)]), "{major}: not the reader ahead");
        let wait = table.wait(3, 100).unwrap().unwrap();
        assert_eq!((wait.relation, wait.mode.name(), wait.event), (Some(16_384), "AccessShareLock", 0x0300_0000));
        assert_eq!((wait.leader.pid, wait.lock), (103, LOCK));
    }
}

#[test]
fn those_behind_do_not_block() {
    let table = Table::of(15, &[at(0, 5, 0), at(1, 0, 3), at(2, 0, EXCLUSIVE)]);
    assert_eq!(table.blockers(1), Ok(vec![(100, false)]));
    assert_eq!(table.blockers(2), Ok(vec![(100, false), (101, true)]));
}

/// A worker's locks are its leader's: they never block each other, and others wait for the leader, once.
#[test]
fn a_lock_group_is_its_leader() {
    let member = |n: usize, holds, waits| At { leader: 1, ..at(n, holds, waits) };
    let table = Table::of(17, &[at(0, SHARE, 0), member(1, SHARE, 0), member(2, SHARE, 0), at(3, 0, EXCLUSIVE)]);
    assert_eq!(table.blockers(3), Ok(vec![(100, false), (101, false)]));
    let table = Table::of(17, &[at(0, SHARE, 0), member(1, SHARE, 0), member(2, 0, EXCLUSIVE)]);
    assert_eq!(table.blockers(2), Ok(vec![(100, false)]));
    assert_eq!(table.wait(2, 100).unwrap().unwrap().leader.pid, 101);
}

/// Whatever does not fit gives no answer.
#[test]
fn doubts() {
    let good = Table::of(15, &behind_an_exclusive_lock());
    let user = &good.layout.user;
    let fields = &good.layout.fields;
    let waiter = proc(1);
    let holder = PROCLOCKS;
    let elsewhere = 0x7f00_0099_0000u64.to_le_bytes();
    let cases: &[(&str, u64, &[u8])] = &[
        ("another process", waiter + u64::from(fields.proc_pid), &[7, 0, 0, 0]),
        ("a mode that is none", waiter + u64::from(user.proc_wait_lock_mode), &[9, 0, 0, 0]),
        ("no mode", waiter + u64::from(user.proc_wait_lock_mode), &[0, 0, 0, 0]),
        ("a mode nobody waits for", waiter + u64::from(user.proc_wait_lock_mode), &[4, 0, 0, 0]),
        ("no memory", waiter + u64::from(user.proc_wait_lock), &elsewhere),
        ("not aligned", waiter + u64::from(user.proc_wait_lock), &(LOCK + 1).to_le_bytes()),
        ("another wait event", waiter + u64::from(fields.proc_wait_event), &[0, 0, 0, 1]),
        ("another kind of lock", LOCK + u64::from(user.lock_type), &[5]),
        ("no kind of lock", LOCK + u64::from(user.lock_type), &[12]),
        ("no method", LOCK + u64::from(user.lock_method), &[3]),
        ("more is granted", LOCK + u64::from(user.lock_grant_mask), &[0xFE, 1, 0, 0]),
        ("nobody waits", LOCK + u64::from(user.lock_wait_mask), &[2, 0, 0, 0]),
        ("of another lock", holder + u64::from(user.proclock_lock), &elsewhere),
        ("of no process", holder + u64::from(user.proclock_proc), &elsewhere),
        ("of no group", holder + u64::from(user.proclock_group_leader), &[0; 8]),
        ("modes that are none", holder + u64::from(user.proclock_hold_mask), &[3, 0, 0, 0]),
        ("a torn list", holder + u64::from(user.proclock_link) + NEXT, &elsewhere),
        ("an empty queue", LOCK + u64::from(user.lock_wait_procs) + NEXT, &(LOCK + 40).to_le_bytes()),
        ("a queue without it", LOCK + u64::from(user.lock_wait_procs) + NEXT, &proc(2).to_le_bytes()),
    ];
    assert_eq!(good.blockers(1), Ok(vec![(100, false)]));
    for (what, at, bytes) in cases {
        let mut table = good.clone();
        table.put(*at, bytes);
        let outcome = table.wait(1, 8192);
        assert!(matches!(outcome, Err(Doubt::Inconsistent(_))), "{what}: {outcome:?}");
    }
}

/// A list that leads back into itself, but never to its head.
#[test]
fn a_list_without_an_end_is_left() {
    let mut table = Table::of(15, &behind_an_exclusive_lock());
    let link = PROCLOCKS + PAGE + u64::from(table.layout.user.proclock_link);
    table.put(link + NEXT, &link.to_le_bytes());
    assert_eq!(table.wait(1, 100_000), Err(Doubt::Inconsistent("a list does not end")));
    assert_eq!(table.wait(1, 100), Err(Doubt::TooMuch));
}

/// The waiter is woken while its lock is being read.
#[test]
fn a_wait_that_ends_meanwhile_is_dropped() {
    let table = Table::of(15, &behind_an_exclusive_lock());
    let mut after = table.clone();
    after.put(proc(1) + u64::from(table.layout.user.proc_wait_lock), &[0; 8]);
    let whole = std::cell::Cell::new(0);
    let count = |at: u64, into: &mut [u8]| {
        whole.set(whole.get() + 1);
        table.read(at, into)
    };
    let waiter = Process { proc: proc(1), pid: 101 };
    let (fields, user) = (&table.layout.fields, &table.layout.user);
    assert!(Locks::new(fields, user, &count, 8192).unwrap().wait(waiter).unwrap().is_some());
    for change in 1..whole.get() - 1 {
        let reads = std::cell::Cell::new(0);
        let read = |at: u64, into: &mut [u8]| {
            reads.set(reads.get() + 1);
            if reads.get() > change { after.read(at, into) } else { table.read(at, into) }
        };
        let outcome = Locks::new(fields, user, &read, 8192).unwrap().wait(waiter);
        assert!(outcome.is_err(), "changed after {change} reads");
    }
}

#[test]
fn without_offsets_there_is_no_reader() {
    let layout = layout::for_major(15).unwrap();
    let read: Read = &|_, _| false;
    assert!(Locks::new(&PgFields::UNRESOLVED, &layout.user, read, 100).is_none());
    assert!(Locks::new(&layout.fields, &UserFields::UNRESOLVED, read, 100).is_none());
}

proptest! {
    /// Memory full of anything: no panic, no endless walk, and nothing is believed.
    #[test]
    fn garbage(seed in any::<u64>(), words in prop::collection::vec(prop_oneof![
        Just(LOCK), Just(proc(0)), Just(proc(1)), Just(PROCLOCKS), 0..300u64, any::<u64>(),
    ], 1..64)) {
        let layout = layout::for_major(13 + (seed % 6) as u32).unwrap();
        let reads = std::cell::Cell::new(0u64);
        let read = |at: u64, into: &mut [u8]| {
            reads.set(reads.get() + 1);
            for (i, chunk) in into.chunks_mut(8).enumerate() {
                let word = words[((at / 8 + i as u64) ^ seed) as usize % words.len()].to_le_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
            true
        };
        let mut locks = Locks::new(&layout.fields, &layout.user, &read, 1000).unwrap();
        for n in 0..3 {
            let _ = locks.wait(Process { proc: proc(n), pid: words[0] as u32 });
        }
        prop_assert!(reads.get() <= 1000);
    }

    /// One word of a good table is changed: the same answer, or none.
    #[test]
    fn one_word_off(page in prop_oneof![Just(LOCK), Just(proc(1)), Just(PROCLOCKS), Just(PROCLOCKS + PAGE)],
                    at in 0..20u64, word in any::<u64>()) {
        let mut table = Table::of(15, &behind_an_exclusive_lock());
        let expected = table.blockers(1);
        table.put(page + at * 8, &word.to_le_bytes());
        let outcome = table.blockers(1);
        prop_assert!(outcome == expected || outcome.is_err() || outcome == Ok(vec![]), "{outcome:?}");
    }
}
