//! Causes: what the kernel was doing for a backend while it was blocked.
//!
//! The kernel side takes down facts ([`pgstrobe_common::context`]): the system call, how the task sleeps, what it was
//! flagged with. The one table that makes a cause of them is here. Where these facts do not tell, the stack does: see
//! [`stack`].

use pgstrobe_common::context;
use serde::{Deserialize, Serialize};

mod stack;

pub use stack::{Stacks, found};

use crate::vocabulary::{Cause, State};

/// What a backend did while it slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sleep {
    /// It waited for the next message of the client; nothing is asked of the server.
    Idle,
    /// The same inside a transaction, which keeps its locks.
    IdleInTransaction,
    Blocked(Cause),
}

/// How a call sleeps, for calls in which that tells.
#[derive(Clone, Copy)]
enum Call {
    /// It has one cause, however it sleeps.
    Is(Cause),
    /// It works on a file: for a block device with this cause, else for a lock of the file system; a sleep that a signal
    /// ends is one on a pipe.
    File(Cause),
}

/// Facts that are the cause whatever the call.
const FACTS: &[(u32, Cause)] = &[
    (context::STOPPED, Cause::Stopped),
    (context::FROZEN, Cause::Frozen),
    (context::DIRTY_THROTTLE, Cause::DirtyThrottle),
    (context::MEMCG_RECLAIM, Cause::MemcgReclaim),
    (context::RECLAIM, Cause::Reclaim),
    (context::EXITING, Cause::Exit),
    (context::SYNCING, Cause::Fsync),
];

/// Numbers of system calls (arch/x86/entry/syscalls/syscall_64.tbl).
const CALLS: &[(&[u32], Call)] = &[
    // fsync, fdatasync, sync_file_range, msync, sync, syncfs
    (&[74, 75, 277, 26, 162, 306], Call::Is(Cause::Fsync)),
    // read, pread64, readv, preadv, preadv2
    (&[0, 17, 19, 295, 327], Call::File(Cause::BlockRead)),
    // write, pwrite64, writev, pwritev, pwritev2, sendfile, copy_file_range, fallocate, ftruncate, truncate
    (&[1, 18, 20, 296, 328, 40, 326, 285, 77, 76], Call::File(Cause::BlockWrite)),
    // open, openat, creat, close, stat, fstat, lstat, newfstatat, statx, lseek, getdents, getdents64, fadvise64, readahead
    (&[2, 257, 85, 3, 4, 5, 6, 262, 332, 8, 78, 217, 221, 187], Call::File(Cause::BlockRead)),
    // rename, renameat, renameat2, unlink, unlinkat, mkdir, mkdirat, rmdir, link, linkat, symlink, symlinkat, access
    (&[82, 264, 316, 87, 263, 83, 258, 84, 86, 265, 88, 266, 21], Call::File(Cause::BlockRead)),
    // futex
    (&[202], Call::Is(Cause::Futex)),
    // semop, semtimedop
    (&[65, 220], Call::Is(Cause::Semaphore)),
    // recvfrom, recvmsg, recvmmsg, accept, accept4
    (&[45, 47, 299, 43, 288], Call::Is(Cause::SocketRead)),
    // sendto, sendmsg, sendmmsg, connect
    (&[44, 46, 307, 42], Call::Is(Cause::SocketWrite)),
    // poll, ppoll, select, pselect6, epoll_wait, epoll_pwait, epoll_pwait2
    (&[7, 271, 23, 270, 232, 281, 441], Call::Is(Cause::Poll)),
    // nanosleep, clock_nanosleep
    (&[35, 230], Call::Is(Cause::Sleep)),
    // wait4, waitid, fork, vfork, clone
    (&[61, 247, 57, 58, 56], Call::Is(Cause::Child)),
    // exit, exit_group
    (&[60, 231], Call::Is(Cause::Exit)),
    // io_uring_enter
    (&[426], Call::Is(Cause::IoUring)),
];

impl Sleep {
    /// The sleep in a context.
    pub fn of(word: u32) -> Self {
        match (word & context::IDLE != 0, word & context::IN_TRANSACTION != 0) {
            (true, true) => Self::IdleInTransaction,
            (true, false) => Self::Idle,
            (false, _) => Self::Blocked(cause(word)),
        }
    }

    /// State and cause of the part of a ledger it makes: idleness is a state of its own.
    pub const fn part(self) -> (State, Option<Cause>) {
        match self {
            Self::Idle => (State::Idle, None),
            Self::IdleInTransaction => (State::IdleInTransaction, None),
            Self::Blocked(cause) => (State::Blocked, Some(cause)),
        }
    }
}

/// What the kernel did meanwhile, by the facts of a context.
fn cause(word: u32) -> Cause {
    let has = |fact: u32| word & fact != 0;
    // The kernel's own business first: it can befall a task in any call.
    for (fact, cause) in FACTS {
        if has(*fact) {
            return *cause;
        }
    }
    if let Some(cause) = context::stack_of(word).and_then(stack::cause)
        && (cause != Cause::FilesystemFrozen || context::is_on_a_file(word))
    {
        return cause;
    }
    let number = word & context::SYSCALL_MASK;
    let (io, lock) = (has(context::IOWAIT), has(context::UNINTERRUPTIBLE));
    match CALLS.iter().find(|(numbers, _)| numbers.contains(&number)) {
        Some((_, Call::Is(cause))) => *cause,
        _ if has(context::WRITEBACK_WAIT) => Cause::WritebackWait,
        Some((_, Call::File(cause))) if io => *cause,
        Some((_, Call::File(_))) if lock => Cause::FilesystemLock,
        Some((_, Call::File(_))) => Cause::Pipe,
        None if number == context::NO_SYSCALL && io => Cause::MajorFault,
        None if io => Cause::BlockRead,
        None => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use context::*;

    /// No cause is only a name: each comes from a call, a fact, a stack, or from what is left.
    #[test]
    fn every_cause_is_found() {
        let of_calls = CALLS.iter().map(|(_, call)| match call {
            Call::Is(cause) | Call::File(cause) => *cause,
        });
        let left = [Cause::WritebackWait, Cause::FilesystemLock, Cause::Pipe, Cause::MajorFault, Cause::Other];
        let found: BTreeSet<Cause> =
            of_calls.chain(FACTS.iter().map(|(_, cause)| *cause)).chain(stack::causes()).chain(left).collect();
        assert_eq!(found, Cause::SLEEPS.iter().map(|(cause, ..)| *cause).collect());
    }

    #[test]
    fn facts_make_causes() {
        for (word, cause) in [
            (74, Cause::Fsync),
            (75 | UNINTERRUPTIBLE | IOWAIT, Cause::Fsync),
            (17 | UNINTERRUPTIBLE | IOWAIT, Cause::BlockRead),
            (17 | UNINTERRUPTIBLE, Cause::FilesystemLock),
            (0, Cause::Pipe),
            (18 | UNINTERRUPTIBLE | IOWAIT, Cause::BlockWrite),
            (18 | UNINTERRUPTIBLE | IOWAIT | SYNCING, Cause::Fsync),
            (18 | UNINTERRUPTIBLE | IOWAIT | DIRTY_THROTTLE, Cause::DirtyThrottle),
            (18 | UNINTERRUPTIBLE | IOWAIT | WRITEBACK_WAIT, Cause::WritebackWait),
            (NO_SYSCALL | UNINTERRUPTIBLE | IOWAIT | WRITEBACK_WAIT, Cause::WritebackWait),
            (75 | UNINTERRUPTIBLE | IOWAIT | WRITEBACK_WAIT, Cause::Fsync),
            (18 | UNINTERRUPTIBLE | RECLAIM, Cause::Reclaim),
            (NO_SYSCALL | UNINTERRUPTIBLE | IOWAIT | RECLAIM | MEMCG_RECLAIM, Cause::MemcgReclaim),
            (NO_SYSCALL | UNINTERRUPTIBLE | IOWAIT, Cause::MajorFault),
            (NO_SYSCALL, Cause::Other),
            (202, Cause::Futex),
            (220, Cause::Semaphore),
            (45, Cause::SocketRead),
            (44, Cause::SocketWrite),
            (232, Cause::Poll),
            (230, Cause::Sleep),
            (61, Cause::Child),
            (231 | EXITING, Cause::Exit),
            (202 | STOPPED, Cause::Stopped),
            (18 | FROZEN, Cause::Frozen),
            (426, Cause::IoUring),
            (999, Cause::Other),
        ] {
            assert_eq!(Sleep::of(word), Sleep::Blocked(cause), "{word:#x}");
        }
        assert_eq!(Sleep::of(IDLE | 232), Sleep::Idle);
        assert_eq!(Sleep::of(IDLE | IN_TRANSACTION | 232), Sleep::IdleInTransaction);
    }

    #[test]
    fn a_call_is_in_the_table_once() {
        let mut seen = BTreeSet::new();
        for number in CALLS.iter().flat_map(|(numbers, _)| *numbers) {
            assert!(seen.insert(number), "{number}");
            assert!(*number < NO_SYSCALL);
        }
    }
}
