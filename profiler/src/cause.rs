//! Causes: what the kernel was doing for a backend while it was blocked.
//!
//! The kernel side takes down facts ([`pgstrobe_common::context`]): the system call, how the task sleeps, what it was
//! flagged with. The one table that makes a cause of them is here. Where these facts do not tell, the stack does: see
//! [`stack`].

use pgstrobe_common::context;

mod stack;

pub use stack::Stacks;

/// Why a backend slept, in the terms of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Waiting for the next message of the client; nothing is asked of the server.
    Idle,
    /// The same inside a transaction, which keeps its locks.
    IdleInTransaction,
    /// Data on its way to the disk because the server asked for that: a sync, a journal commit.
    Fsync,
    /// A block on its way from the disk.
    BlockRead,
    /// A write that waits for the disk: for a page under writeback, or for the rest of a page to be read.
    BlockWrite,
    /// A page that is on its way to the disk, and must not change until it is there, or is to be dropped.
    WritebackWait,
    /// The kernel slows a writer because too much memory is dirty.
    DirtyThrottle,
    /// The kernel frees memory for an allocation.
    Reclaim,
    /// The same because a memory cgroup is at its limit.
    MemcgReclaim,
    /// The pause by which the kernel slows a task down whose memory cgroup is above its `memory.high`.
    MemcgThrottle,
    /// The memory cgroup is out of memory, and nobody is killed for it (`memory.oom_control` of version 1).
    MemcgOom,
    /// A page fault that waits for the disk.
    MajorFault,
    /// The lock of the process's own address space, which another one that looks into it holds.
    MmapLock,
    /// A transaction of the file system's journal that is to begin, or to be committed.
    Journal,
    /// Room in the queue of a block device, of which it has used its share.
    BlockQueue,
    /// The server of a network file system, or the process behind one in user space.
    NetworkFilesystem,
    /// A lock of the file system, of an inode for instance.
    FilesystemLock,
    /// A file system that somebody froze, to be thawed: writes to it wait.
    FilesystemFrozen,
    /// A semaphore or mutex in memory, as below LWLocks.
    Futex,
    /// A System V semaphore, which 13 to 17 use on some platforms.
    Semaphore,
    SocketRead,
    SocketWrite,
    Pipe,
    /// Waiting for one of several things: sockets, latches, a timeout.
    Poll,
    /// A timer alone.
    Sleep,
    Exit,
    /// Stopped by a signal, or by a debugger.
    Stopped,
    /// Its cgroup is frozen.
    Frozen,
    /// Waiting for a child process.
    Child,
    IoUring,
    Other,
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

impl Cause {
    /// The cause of a sleep in a context.
    pub fn of(word: u32) -> Self {
        let has = |fact: u32| word & fact != 0;
        if has(context::IDLE) {
            return if has(context::IN_TRANSACTION) { Self::IdleInTransaction } else { Self::Idle };
        }
        // The kernel's own business first: it can befall a task in any call.
        for (fact, cause) in [
            (context::STOPPED, Self::Stopped),
            (context::FROZEN, Self::Frozen),
            (context::DIRTY_THROTTLE, Self::DirtyThrottle),
            (context::MEMCG_RECLAIM, Self::MemcgReclaim),
            (context::RECLAIM, Self::Reclaim),
            (context::EXITING, Self::Exit),
            (context::SYNCING, Self::Fsync),
        ] {
            if has(fact) {
                return cause;
            }
        }
        if let Some(cause) = context::stack_of(word).and_then(stack::cause)
            && (cause != Self::FilesystemFrozen || context::is_on_a_file(word))
        {
            return cause;
        }
        let number = word & context::SYSCALL_MASK;
        let (io, lock) = (has(context::IOWAIT), has(context::UNINTERRUPTIBLE));
        match CALLS.iter().find(|(numbers, _)| numbers.contains(&number)) {
            Some((_, Call::Is(cause))) => *cause,
            _ if has(context::WRITEBACK_WAIT) => Self::WritebackWait,
            Some((_, Call::File(cause))) if io => *cause,
            Some((_, Call::File(_))) if lock => Self::FilesystemLock,
            Some((_, Call::File(_))) => Self::Pipe,
            None if number == context::NO_SYSCALL && io => Self::MajorFault,
            None if io => Self::BlockRead,
            None => Self::Other,
        }
    }

    /// Its name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::IdleInTransaction => "idle_in_transaction",
            Self::Fsync => "fsync",
            Self::BlockRead => "block_read",
            Self::BlockWrite => "block_write",
            Self::WritebackWait => "writeback_wait",
            Self::DirtyThrottle => "dirty_throttle",
            Self::Reclaim => "reclaim",
            Self::MemcgReclaim => "memcg_reclaim",
            Self::MemcgThrottle => "memcg_throttle",
            Self::MemcgOom => "memcg_oom",
            Self::MajorFault => "major_fault",
            Self::MmapLock => "mmap_lock",
            Self::Journal => "journal",
            Self::BlockQueue => "block_queue",
            Self::NetworkFilesystem => "network_filesystem",
            Self::FilesystemLock => "filesystem_lock",
            Self::FilesystemFrozen => "filesystem_frozen",
            Self::Futex => "futex",
            Self::Semaphore => "semaphore",
            Self::SocketRead => "socket_read",
            Self::SocketWrite => "socket_write",
            Self::Pipe => "pipe",
            Self::Poll => "poll",
            Self::Sleep => "sleep",
            Self::Exit => "exit",
            Self::Stopped => "stopped",
            Self::Frozen => "frozen",
            Self::Child => "child",
            Self::IoUring => "io_uring",
            Self::Other => "other",
        }
    }

    /// State and cause of the part of a ledger it makes: idleness is a state of its own.
    pub const fn part(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Idle => ("idle", None),
            Self::IdleInTransaction => ("idle_in_transaction", None),
            _ => ("blocked", Some(self.name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use context::*;

    /// `docs/ledger.md` explains every cause, and none that is not.
    #[test]
    fn every_cause_is_explained() {
        let (_, causes) = include_str!("../../docs/ledger.md").split_once("## Causes").expect("the section");
        let row = |line: &'static str| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name);
        let explained: BTreeSet<&str> = causes.lines().filter_map(row).collect();
        let of_calls = CALLS.iter().map(|(_, call)| match call {
            Call::Is(cause) | Call::File(cause) => *cause,
        });
        let others = [
            Cause::WritebackWait,
            Cause::DirtyThrottle,
            Cause::Reclaim,
            Cause::MemcgReclaim,
            Cause::MajorFault,
            Cause::FilesystemLock,
            Cause::Pipe,
            Cause::Stopped,
            Cause::Other,
        ];
        let all = of_calls.chain(stack::causes()).chain(others).map(Cause::name);
        assert_eq!(explained, all.collect());
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
            (IDLE | 232, Cause::Idle),
            (IDLE | IN_TRANSACTION | 232, Cause::IdleInTransaction),
        ] {
            assert_eq!(Cause::of(word), cause, "{word:#x}");
        }
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
