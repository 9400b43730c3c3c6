//! Whom a backend waits for, read from the server's lock table in shared memory: what `pg_blocking_pids()` answers, without
//! SQL and without the lock manager's own locks.
//!
//! Nothing holds the table still meanwhile, and no offset was checked before, so that each answer carries its own proof:
//! every struct must name those it belongs to, the lists must close, the granted modes must be those of the holders, and
//! the waiter must still wait for the same lock at the end. Else there is no answer: the next look will have one.
//!
//! What blocks is as in `GetBlockerStatusData` (src/backend/storage/lmgr/lock.c) and `pg_blocking_pids`
//! (src/backend/utils/adt/lockfuncs.c), 13 to 18.

use std::collections::HashMap;

use pgstrobe_common::fields::{ABSENT, PgFields, UserFields};

use super::{
    layout::{Read, is_address},
    wait_event::CLASS_LOCK,
};

mod modes;
#[cfg(test)]
mod tests;

pub use modes::Mode;

/// Longest list followed: holders of one lock, or its queue. What is longer gives no answer.
const LONGEST_LIST: usize = 2048;
/// `DEFAULT_LOCKMETHOD` and `USER_LOCKMETHOD` (src/include/storage/lock.h).
const LOCK_METHODS: std::ops::RangeInclusive<u8> = 1..=2;
/// `LOCKTAG_LAST_TYPE`: `LOCKTAG_APPLY_TRANSACTION` (src/include/storage/lock.h, 16 and later).
const LAST_TYPE: u8 = 11;
/// `next` in an `SHM_QUEUE` (src/include/storage/shmem.h, up to 15) and in a `dlist_node` (src/include/lib/ilist.h), which
/// `dlist_head`, `dclist_head` and `PROC_QUEUE` begin with.
const NEXT: u64 = 8;

/// A backend's wait for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Address of the lock: the same for all that wait for it.
    pub lock: u64,
    /// `wait_event_info`: the class Lock, and the kind of the lock.
    pub event: u32,
    /// What the lock is of: the first two fields of its tag, such as database and relation, or a transaction.
    pub tag: (u32, u32),
    /// `pg_class.oid`, for locks of a relation or in one.
    pub relation: Option<u32>,
    pub mode: Mode,
    /// `PGPROC.waitStart`, 0 when not known: tells this wait from the next one.
    pub started: u64,
    /// Leader of its lock group, or itself.
    pub leader: Process,
    /// Those that hold what it cannot have, and those that wait for it longer; a lock group by its leader.
    pub blockers: Vec<Blocker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocker {
    pub process: Process,
    /// It holds nothing that conflicts, but stands before the waiter in the queue, with a request that conflicts.
    pub queued: bool,
}

/// An entry of the process array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Address of its `PGPROC`.
    pub proc: u64,
    /// As the server sees it; 0 for a prepared transaction.
    pub pid: u32,
}

/// Why there is no answer this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// No more reads are allowed in this look.
    #[error("too much to read")]
    TooMuch,
    #[error("{0}")]
    Inconsistent(&'static str),
}

/// One look at the lock table: what several waiters need of it is read once.
pub struct Locks<'a> {
    fields: PgFields,
    user: UserFields,
    read: Read<'a>,
    /// Reads left.
    budget: usize,
    procs: HashMap<u64, Proc>,
    locks: HashMap<u64, Result<Lock, Doubt>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Proc {
    pid: u32,
    wait_lock: u64,
    wait_mode: u32,
    started: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    tag: (u32, u32),
    kind: u8,
    granted: u32,
    awaited: u32,
}

struct Lock {
    head: Head,
    holders: Vec<Holder>,
    /// `PGPROC` of those that wait, the first first.
    queue: Vec<u64>,
}

/// A `PROCLOCK`: one process and what it holds, or waits for, of one lock.
struct Holder {
    proc: u64,
    leader: u64,
    holds: u32,
}

impl<'a> Locks<'a> {
    /// None where the offsets that tell whose a struct is are not known to hold. `read` reads the shared memory of the
    /// server; at most `budget` reads are made.
    pub fn new(fields: &PgFields, user: &UserFields, read: Read<'a>, budget: usize) -> Option<Self> {
        let known = [fields.proc_pid, fields.proc_wait_event, user.proc_wait_lock, user.lock_type, user.proclock_proc];
        let locks = Self { fields: *fields, user: *user, read, budget, procs: HashMap::new(), locks: HashMap::new() };
        (!known.contains(&ABSENT)).then_some(locks)
    }

    /// Reads everything anew from here on.
    pub fn forget(&mut self) {
        self.procs.clear();
        self.locks.clear();
    }

    /// What the process waits for; nothing when it waits for no lock.
    ///
    /// # Errors
    /// What was read does not fit together: it changed in between, or is not what it is taken for.
    pub fn wait(&mut self, waiter: Process) -> Result<Option<Wait>, Doubt> {
        let before = self.proc(waiter.proc)?;
        ensure(before.pid == waiter.pid, "the entry belongs to another process")?;
        if before.wait_lock == 0 {
            return Ok(None);
        }
        let mode = Mode::new(before.wait_mode).ok_or(Doubt::Inconsistent("no such lock mode"))?;
        self.learn(before.wait_lock)?;
        let lock = self.locks.get(&before.wait_lock).and_then(|lock| lock.as_ref().ok());
        let lock = lock.ok_or(Doubt::Inconsistent("the lock could not be read"))?;
        let head = lock.head;
        ensure(head.awaited & mode.bit() != 0, "nobody waits for that mode")?;
        let own = lock.holders.iter().position(|holder| holder.proc == waiter.proc);
        let own = own.ok_or(Doubt::Inconsistent("the waiter is not among those at the lock"))?;
        let place = lock.queue.iter().position(|proc| *proc == waiter.proc);
        let place = place.ok_or(Doubt::Inconsistent("the waiter is not in the queue"))?;
        let ahead = &lock.queue[..place];

        let leader = lock.holders[own].leader;
        let mut blockers: Vec<(u64, bool)> = Vec::new();
        let others = lock.holders.iter().enumerate().filter(|(i, other)| *i != own && other.leader != leader);
        for (_, other) in others {
            let holds = other.holds & mode.conflicts() != 0;
            let queued = || {
                let Some(proc) = self.procs.get(&other.proc) else { return false };
                let asked = Mode::new(proc.wait_mode).filter(|_| proc.wait_lock == before.wait_lock);
                asked.is_some_and(|asked| asked.bit() & mode.conflicts() != 0) && ahead.contains(&other.proc)
            };
            if !holds && !queued() {
                continue;
            }
            match blockers.iter_mut().find(|(known, _)| *known == other.leader) {
                Some((_, queued)) => *queued &= !holds,
                None => blockers.push((other.leader, !holds)),
            }
        }
        // Holders first: it is them that a chain follows.
        blockers.sort_by_key(|(_, queued)| *queued);
        ensure(!blockers.is_empty(), "nothing keeps it waiting")?;
        let mut process = |proc| Ok(Process { proc, pid: self.proc(proc)?.pid });
        let leader = process(leader)?;
        let blockers = blockers.into_iter().map(|(proc, queued)| Ok(Blocker { process: process(proc)?, queued }));
        let blockers = blockers.collect::<Result<_, Doubt>>()?;

        let event = CLASS_LOCK << 24 | u32::from(head.kind);
        let mut word = [0; 4];
        self.bytes(waiter.proc + u64::from(self.fields.proc_wait_event), &mut word)?;
        ensure(u32::from_le_bytes(word) == event, "it does not sleep for the lock")?;
        ensure(self.read_proc(waiter.proc)? == before, "the wait is over")?;
        ensure(self.read_head(before.wait_lock)? == head, "the lock changed")?;
        Ok(Some(Wait {
            lock: before.wait_lock,
            event,
            tag: head.tag,
            relation: in_relation(head.kind).then_some(head.tag.1),
            mode,
            started: before.started,
            leader,
            blockers,
        }))
    }

    /// Reads a lock with its holders and its queue, unless that was done.
    fn learn(&mut self, lock: u64) -> Result<(), Doubt> {
        if !self.locks.contains_key(&lock) {
            let learned = self.read_lock(lock);
            self.locks.insert(lock, learned);
        }
        match &self.locks[&lock] {
            Ok(_) => Ok(()),
            Err(doubt) => Err(*doubt),
        }
    }

    fn read_lock(&mut self, lock: u64) -> Result<Lock, Doubt> {
        let head = self.read_head(lock)?;
        let mut holders = Vec::new();
        for at in self.list(lock + u64::from(self.user.lock_proc_locks), self.user.proclock_link)? {
            let user = self.user;
            let mut bytes = [0; 64];
            let bytes = &mut bytes[..(user.proclock_link as usize).clamp(32, 64)];
            self.bytes(at, bytes)?;
            let holder = Holder {
                proc: u64_at(bytes, user.proclock_proc)?,
                leader: u64_at(bytes, user.proclock_group_leader)?,
                holds: u32_at(bytes, user.proclock_hold_mask)?,
            };
            ensure(u64_at(bytes, user.proclock_lock)? == lock, "a holder's entry belongs to another lock")?;
            ensure(holder.holds & !modes::ALL == 0, "a holder's modes are none")?;
            self.proc(holder.proc)?;
            self.proc(holder.leader)?;
            holders.push(holder);
        }
        let granted = holders.iter().fold(0, |mask, holder| mask | holder.holds);
        ensure(granted == head.granted, "the granted modes are not those of the holders")?;
        let queue = self.list(lock + u64::from(self.user.lock_wait_procs), self.user.proc_links)?;
        ensure(!queue.is_empty(), "nobody is in the queue")?;
        Ok(Lock { head, holders, queue })
    }

    fn read_head(&mut self, lock: u64) -> Result<Head, Doubt> {
        let user = self.user;
        let mut bytes = [0; 64];
        let bytes = &mut bytes[..(user.lock_proc_locks as usize).clamp(24, 64)];
        self.bytes(lock, bytes)?;
        let head = Head {
            tag: (u32_at(bytes, user.lock_field1)?, u32_at(bytes, user.lock_field2)?),
            kind: u8_at(bytes, user.lock_type)?,
            granted: u32_at(bytes, user.lock_grant_mask)?,
            awaited: u32_at(bytes, user.lock_wait_mask)?,
        };
        ensure(head.kind <= LAST_TYPE, "no such kind of lock")?;
        ensure(LOCK_METHODS.contains(&u8_at(bytes, user.lock_method)?), "no such lock method")?;
        ensure((head.granted | head.awaited) & !modes::ALL == 0, "the modes of the lock are none")?;
        Ok(head)
    }

    /// The entry of a process, as it was at the first look.
    fn proc(&mut self, proc: u64) -> Result<Proc, Doubt> {
        if let Some(known) = self.procs.get(&proc) {
            return Ok(*known);
        }
        let read = self.read_proc(proc)?;
        self.procs.insert(proc, read);
        Ok(read)
    }

    fn read_proc(&mut self, proc: u64) -> Result<Proc, Doubt> {
        let (user, pid) = (self.user, self.fields.proc_pid);
        let started = if user.proc_wait_start == ABSENT { 0 } else { user.proc_wait_start };
        let end = [pid, user.proc_wait_lock, user.proc_wait_lock_mode, started].into_iter().max().unwrap_or(0) + 8;
        let mut bytes = [0; 256];
        let bytes = bytes.get_mut(..end as usize).ok_or(Doubt::Inconsistent("the fields are too far apart"))?;
        self.bytes(proc, bytes)?;
        Ok(Proc {
            pid: u32_at(bytes, pid)?,
            wait_lock: u64_at(bytes, user.proc_wait_lock)?,
            wait_mode: u32_at(bytes, user.proc_wait_lock_mode)?,
            started: if started == 0 { 0 } else { u64_at(bytes, started)? },
        })
    }

    /// The structs on a circular list, whose links are at `link` in them.
    fn list(&mut self, head: u64, link: u32) -> Result<Vec<u64>, Doubt> {
        let mut all = Vec::new();
        let mut next = self.pointer(head + NEXT)?;
        while next != head {
            ensure(all.len() < LONGEST_LIST, "a list does not end")?;
            let at = next.checked_sub(u64::from(link)).ok_or(Doubt::Inconsistent("not an address"))?;
            all.push(at);
            next = self.pointer(next.saturating_add(NEXT))?;
        }
        Ok(all)
    }

    fn pointer(&mut self, at: u64) -> Result<u64, Doubt> {
        let mut word = [0; 8];
        self.bytes(at, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn bytes(&mut self, at: u64, into: &mut [u8]) -> Result<(), Doubt> {
        self.budget = self.budget.checked_sub(1).ok_or(Doubt::TooMuch)?;
        ensure(is_address(at) && at.is_multiple_of(4), "not an address")?;
        ensure((self.read)(at, into), "nothing can be read there")
    }
}

/// Whether the second field of the tag is a relation: LOCKTAG_RELATION, _RELATION_EXTEND, _PAGE and _TUPLE
/// (src/include/storage/lock.h, 13 to 18).
fn in_relation(kind: u8) -> bool {
    matches!(kind, 0 | 1 | 3 | 4)
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), Doubt> {
    if holds { Ok(()) } else { Err(Doubt::Inconsistent(otherwise)) }
}

fn u64_at(bytes: &[u8], at: u32) -> Result<u64, Doubt> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: u32) -> Result<u32, Doubt> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u8_at(bytes: &[u8], at: u32) -> Result<u8, Doubt> {
    array_at::<1>(bytes, at).map(|[byte]| byte)
}

fn array_at<const N: usize>(bytes: &[u8], at: u32) -> Result<[u8; N], Doubt> {
    let bytes = bytes.get(at as usize..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or(Doubt::Inconsistent("a field lies outside its struct"))
}
