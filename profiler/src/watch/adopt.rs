//! Processes of the cluster that are there already: what each of them is and does as it is found.

use std::path::Path;

use pgstrobe_common::{
    context::{self, CLIENT_READ},
    faults::{BackendFaults, Faults},
    state::{BACKEND_CUT, BACKEND_IN_TRANSACTION, BACKEND_OFF, BACKEND_OPEN, BACKEND_SLEPT, BACKEND_STARTING, Backend},
};

use super::one::Watch;
use crate::{
    cause,
    instrument::Backends,
    kernel::{faults, features::monotonic_ns},
    postgres::{
        backend::{Identity, Role},
        cluster,
    },
    probes::Level,
};

impl Watch {
    /// Enters the processes that already run into the kernel side's map.
    pub(super) fn adopt_running(&mut self, backends: &mut Backends) {
        let postmaster = self.server.cluster.postmaster_pid;
        let pids = cluster::children(&self.server.cluster).into_iter().chain([postmaster]);
        for pid in pids {
            let mut identity = self.server.identify(pid);
            if pid == postmaster {
                identity = Identity::of(Role::Postmaster);
            } else if identity.role == Role::Unknown {
                // In its first moments: the next look will tell.
                self.unidentified.insert(pid);
            }
            let client = matches!(identity.role, Role::ClientBackend | Role::WalSender);
            let now = monotonic_ns();
            let mut state = Backend {
                pid,
                cluster: self.number.into(),
                since_ns: now,
                cpu_mark_ns: now,
                backend_type: u32::MAX,
                faults: found(faults::of(pid).unwrap_or_default()),
                ..Backend::default()
            };
            if !client || self.server.is_starting(pid) {
                state.flags |= BACKEND_STARTING;
            } else {
                self.find_started(&mut state, now);
            }
            if let Some((how, run_delay)) = scheduling(pid) {
                state.run_delay_ns = run_delay;
                if let 'S' | 'D' | 'T' | 't' = how {
                    state.flags |= BACKEND_OFF | BACKEND_SLEPT;
                    state.off_ns = now;
                    // How long it had waited before is not known: the wait counts from here.
                    state.wait_began_ns = now;
                    state.wait_event_info = self.server.wait_event(pid);
                    state.context = context_of(pid, &state, how);
                }
            }
            if !backends.enter(state) {
                continue;
            }
            if !Path::new(&format!("/proc/{pid}")).exists() {
                backends.leave(pid);
                continue;
            }
            if client && state.flags & BACKEND_STARTING != 0 && !self.server.is_starting(pid) {
                self.find_ready(backends, pid);
            }
            self.aggregate.appear(pid, self.server.namespace_pid(pid));
            self.aggregate.identify(pid, identity);
        }
    }

    /// What a backend past its start-up does as it is found.
    fn find_started(&mut self, state: &mut Backend, now: u64) {
        if self.config.level >= Level::Standard && self.server.is_working(state.pid) {
            state.flags |= BACKEND_OPEN | BACKEND_CUT;
            state.start_ns = now;
            return;
        }
        state.end_ns = now;
        if self.server.is_in_transaction(state.pid) {
            state.flags |= BACKEND_IN_TRANSACTION;
        }
    }

    /// A backend ended its start-up between the look at it and its entry: the hooks did not see that.
    fn find_ready(&mut self, backends: &mut Backends, pid: u32) {
        let Some(mut state) = backends.get(pid).filter(|state| state.flags & BACKEND_STARTING != 0) else {
            return;
        };
        state.flags &= !BACKEND_STARTING;
        // What was read during the start-up may have changed since.
        state.backend_type = u32::MAX;
        self.find_started(&mut state, monotonic_ns());
        backends.replace(state);
    }

    pub(super) fn identify_new(&mut self) {
        for pid in std::mem::take(&mut self.unidentified) {
            let identity = self.server.identify(pid);
            if identity.role == Role::Unknown {
                // Still on its way from the postmaster's image; its exit or the next look will tell.
                if Path::new(&format!("/proc/{pid}")).exists() {
                    self.unidentified.insert(pid);
                }
                continue;
            }
            self.aggregate.identify(pid, identity);
        }
    }
}

/// The account of page faults of a process that has had so many.
fn found(counted: Faults) -> BackendFaults {
    BackendFaults { since: counted, mark: counted, inside: Faults::default() }
}

/// The state of a process (`S` sleeps until a signal or an event, `D` until an event, `T` and `t` is stopped), and its run-queue delay so far in
/// nanoseconds (second field of /proc/PID/schedstat).
fn scheduling(pid: u32) -> Option<(char, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit(") ").next()?.chars().next()?;
    let schedstat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let delay = schedstat.split_whitespace().nth(1)?.parse().ok()?;
    Some((state, delay))
}

/// The context of the sleep a process was found in (see `pgstrobe_common::context`).
fn context_of(pid: u32, state: &Backend, how: char) -> u32 {
    if state.wait_event_info == CLIENT_READ && state.flags & (BACKEND_OPEN | BACKEND_STARTING) == 0 {
        let open = state.flags & BACKEND_IN_TRANSACTION != 0;
        return context::IDLE | if open { context::IN_TRANSACTION } else { 0 };
    }
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    // "NUMBER ARGUMENTS…" of the system call it sleeps in, or "-1 …" in none (fs/proc/base.c).
    let number = read("syscall").split_whitespace().next().and_then(|word| word.parse::<u32>().ok());
    let number = number.filter(|number| *number < context::NO_SYSCALL).unwrap_or(context::NO_SYSCALL);
    let word = match how {
        'D' => number | context::UNINTERRUPTIBLE,
        'S' => number,
        _ => return number | context::STOPPED,
    };
    // Not of one that waits for another backend: there are many of those.
    let tells = context::is_unexplained(word) || number == context::NO_SYSCALL;
    if tells { word | cause::found(&read("stack")) } else { word }
}
