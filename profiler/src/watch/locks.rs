//! A look at who waits for whose lock, once a tick: a wait that has not ended yet has a name as well.
//!
//! Everything is read from the server's shared memory, through the postmaster: one system call finds the waiters among a
//! thousand backends, and only where there are some, the lock table is read.

use std::collections::{HashMap, HashSet};

use pgstrobe_common::{
    fields::ABSENT,
    state::{BACKEND_IN_TRANSACTION, BACKEND_OFF, BACKEND_OPEN, BACKEND_SLEPT},
};

use super::one::Watch;
use crate::{
    aggregate::{Sight, Standing, Waits},
    instrument::Backends,
    kernel::features::monotonic_ns,
    postgres::{
        activity::{self, State},
        backend::Role,
        locks::{Doubt, Locks, Process, Wait},
        memory::ProcessMemory,
        server::Server,
    },
    probes::Level,
    vocabulary::BlockerState,
};

/// Waiters looked at in one tick; those beyond are counted.
const MOST_WAITERS: usize = 64;
/// Reads of the lock table in one tick.
const MOST_READS: usize = 8192;
/// Tries to read one wait in one look: each may meet a change.
const TRIES: usize = 3;
/// Looks in a row without an answer before a wait counts as unread.
const PATIENCE: u32 = 5;

/// Where the shared entries of the backends are.
#[derive(Default)]
pub struct Sampler {
    /// Of this postmaster; another one has other addresses.
    postmaster: u32,
    memory: Option<ProcessMemory>,
    known: HashMap<u32, Known>,
    /// `track_activity_query_size`.
    text_size: usize,
    /// Looks in a row without an answer, by waiter and lock.
    doubts: HashMap<(u32, u64), u32>,
}

#[derive(Clone, Copy)]
struct Known {
    /// Its pid as the server sees it.
    own: u32,
    proc: u64,
    /// `PgBackendStatus`, 0 while unknown.
    status: u64,
}

impl Sampler {
    /// Learns the processes that are new, and forgets those that ended.
    fn follow(&mut self, server: &Server, live: &HashSet<u32>) {
        let postmaster = server.cluster.postmaster_pid;
        if self.postmaster != postmaster || self.memory.is_none() {
            *self = Self { postmaster, memory: ProcessMemory::open(postmaster).ok(), ..Self::default() };
            self.text_size = server.activity_size();
        }
        self.known.retain(|pid, _| live.contains(pid));
        for pid in live.iter().filter(|pid| **pid != postmaster) {
            if self.known.get(pid).is_some_and(|known| known.status != 0 || server.symbols.my_be_entry == 0) {
                continue;
            }
            let Ok(memory) = ProcessMemory::open(*pid) else { continue };
            let variable = |address| if address == 0 { 0 } else { memory.ptr(address).unwrap_or(0) };
            let proc = variable(server.symbols.my_proc);
            if proc != 0 {
                let own = server.namespace_pid(*pid).unwrap_or(*pid);
                self.known.insert(*pid, Known { own, proc, status: variable(server.symbols.my_be_entry) });
            }
        }
    }
}

impl Watch {
    /// Takes the waits for locks of this moment into the aggregate.
    pub(super) fn sample_waits(&mut self, backends: &Backends) {
        let Some(layout) = self.server.layout else { return };
        if self.server.symbols.my_proc == 0 || layout.user.proc_wait_lock == ABSENT {
            return;
        }
        let live: HashSet<u32> = self.aggregate.live().collect();
        self.waits.follow(&self.server, &live);
        let Some(memory) = &self.waits.memory else { return };
        let at = u64::from(layout.user.proc_wait_lock);
        let (pids, addresses): (Vec<u32>, Vec<u64>) =
            self.waits.known.iter().map(|(pid, known)| (*pid, known.proc + at)).unzip();
        let words = memory.words(&addresses);
        let mut waiters: Vec<(u32, u64)> = pids.into_iter().zip(words).filter(|(_, lock)| *lock != 0).collect();
        let now_ns = monotonic_ns();
        let mut sample = Waits { now_ns, ..Waits::default() };
        if waiters.is_empty() {
            self.waits.doubts.clear();
            return self.aggregate.seen(sample);
        }
        // Those of the last look first, so that their waits are followed to the end.
        waiters.sort_unstable_by_key(|(pid, _)| (!self.aggregate.waits_for_lock(*pid), *pid));
        let left_out = waiters.split_off(waiters.len().min(MOST_WAITERS));
        sample.left_out.extend(left_out.iter().map(|(pid, _)| pid));

        let read = |address: u64, into: &mut [u8]| memory.bytes(address, into).is_ok();
        let Some(mut locks) = Locks::new(&self.server.fields, &layout.user, &read, MOST_READS) else { return };
        let mut doubts = HashMap::new();
        for (pid, lock) in waiters {
            match self.look(backends, &mut locks, pid, now_ns) {
                Ok(Some(sight)) => sample.sights.push(sight),
                Ok(None) => {}
                Err(Doubt::TooMuch) => sample.left_out.push(pid),
                Err(doubt) => {
                    tracing::debug!("whom {pid} waits for: {doubt}");
                    let times = self.waits.doubts.get(&(pid, lock)).map_or(1, |times| times + 1);
                    sample.unread += (times == PATIENCE) as u64;
                    doubts.insert((pid, lock), times);
                    sample.unsure.insert(pid);
                }
            }
        }
        sample.unsure.extend(&sample.left_out);
        let blamed: HashSet<u32> = sample.sights.iter().flat_map(Sight::blamed).map(|(pid, _)| pid).collect();
        sample.standing = blamed.into_iter().map(|pid| (pid, self.standing(backends, pid, now_ns))).collect();
        self.waits.doubts = doubts;
        self.aggregate.seen(sample);
    }

    /// Whom one backend waits for; a look that met a change is taken again.
    fn look(&self, backends: &Backends, locks: &mut Locks, pid: u32, now_ns: u64) -> Result<Option<Sight>, Doubt> {
        let known = self.waits.known.get(&pid).ok_or(Doubt::Inconsistent("a process that is not known"))?;
        let mut outcome = Ok(None);
        for _ in 0..TRIES {
            let wait = locks.wait(Process { proc: known.proc, pid: known.own });
            outcome = wait.and_then(|wait| wait.map(|wait| self.sight(backends, pid, &wait, now_ns)).transpose());
            match outcome {
                Ok(_) | Err(Doubt::TooMuch) => break,
                Err(Doubt::Inconsistent(_)) => locks.forget(),
            }
        }
        outcome
    }

    /// A wait with the pids of this machine.
    fn sight(&self, backends: &Backends, waiter: u32, wait: &Wait, now_ns: u64) -> Result<Sight, Doubt> {
        let host = |process: Process| {
            let mut known = self.waits.known.iter();
            match process.pid {
                // A prepared transaction has no process.
                0 => Ok(0),
                own => known
                    .find_map(|(pid, known)| (known.proc == process.proc && known.own == own).then_some(*pid))
                    .ok_or(Doubt::Inconsistent("a process that is not known")),
            }
        };
        let blockers = wait.blockers.iter().map(|blocker| Ok((host(blocker.process)?, blocker.queued)));
        let state = backends.get(waiter);
        // Asleep since then, for all that is known: after deadlock_timeout it wakes for a moment.
        let asleep = state.filter(|state| {
            state.flags & (BACKEND_OFF | BACKEND_SLEPT) == BACKEND_OFF | BACKEND_SLEPT
                && state.wait_event_info == wait.event
        });
        let statement = state.filter(|state| state.flags & BACKEND_OPEN != 0).map_or(0, |state| state.start_ns);
        Ok(Sight {
            waiter,
            leader: host(wait.leader)?,
            event: wait.event,
            relation: wait.relation,
            mode: wait.mode.name(),
            text: self.activity(waiter).map(|activity| (activity.text, activity.cut)),
            since_ns: asleep.map_or(now_ns, |state| state.off_ns.min(now_ns)),
            identity: (wait.lock, wait.tag, wait.started, statement),
            blockers: blockers.collect::<Result<_, Doubt>>()?,
        })
    }

    /// How a blocker stands now.
    fn standing(&self, backends: &Backends, pid: u32, now_ns: u64) -> Standing {
        if pid == 0 {
            return Standing {
                role: Some(Role::PreparedTransaction),
                state: Some(BlockerState::Prepared),
                ..Standing::default()
            };
        }
        let role = self.aggregate.identity(pid).map_or(Role::Unknown, |identity| identity.role);
        let activity = self.activity(pid);
        // Statements are known to the kernel side from the standard level on.
        let kernel = backends.get(pid).filter(|_| self.config.level >= Level::Standard);
        let kernel = kernel.filter(|_| matches!(role, Role::ClientBackend | Role::WalSender));
        let open = kernel.map(|state| state.flags & BACKEND_OPEN != 0);
        let state = match (activity.as_ref().map(|activity| activity.state), open) {
            (Some(State::Active), _) | (None, Some(true)) => BlockerState::Active,
            (Some(State::IdleInTransaction), _) => BlockerState::IdleInTransaction,
            (Some(State::IdleInFailedTransaction), _) => BlockerState::IdleInFailedTransaction,
            (Some(State::Idle), _) => BlockerState::Idle,
            (None, Some(false)) => BlockerState::IdleInTransaction,
            (None, None) => BlockerState::Unknown,
        };
        let streak =
            kernel.filter(|state| state.flags & (BACKEND_OPEN | BACKEND_IN_TRANSACTION) == BACKEND_IN_TRANSACTION);
        let streak = streak.map_or(0, |state| now_ns.saturating_sub(state.end_ns));
        Standing {
            role: Some(role),
            state: Some(state),
            text: activity.map(|activity| (activity.text, activity.cut)),
            running_ns: kernel.filter(|_| open == Some(true)).map_or(0, |state| now_ns.saturating_sub(state.start_ns)),
            idle_ns: kernel.map_or(0, |state| state.transaction_idle_ns + streak),
        }
    }

    fn activity(&self, pid: u32) -> Option<activity::Activity> {
        let known = self.waits.known.get(&pid)?;
        activity::read(&self.server, self.waits.memory.as_ref()?, known.status, known.own, self.waits.text_size)
    }
}
