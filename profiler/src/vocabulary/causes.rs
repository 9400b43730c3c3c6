//! What a part of a ledger is: its state, and why the kernel kept the backend waiting.

use super::vocabulary;

vocabulary! {
    /// What a backend did in a part of its time.
    State {
        /// It computed.
        Cpu "cpu",
        /// It had the CPU, which interrupts or the hypervisor used.
        Interrupted "interrupted",
        /// It could run, and waited for a CPU.
        Runnable "runnable",
        /// It slept.
        Blocked "blocked",
        /// It waited for the next message of its client.
        Idle "idle",
        /// The same inside a transaction, which keeps its locks.
        IdleInTransaction "idle_in_transaction",
        /// No part explains the time.
        Unattributed "unattributed",
    }
}

/// Defines [`Cause`] from the one list of causes. The two texts of a cause of sleeps are its row in `docs/ledger.md`.
macro_rules! causes {
    (
        blocked { $($blocked:ident $blocked_name:literal, $waits_for:literal, $look_at:literal;)+ }
        runnable { $($(#[$doc:meta])* $runnable:ident $runnable_name:literal;)+ }
    ) => {
        vocabulary! {
            /// Why a backend slept or waited for a CPU, in the terms of the kernel.
            Cause {
                $(#[doc = concat!("Waits for ", $waits_for, ".")] $blocked $blocked_name,)+
                $($(#[$doc])* $runnable $runnable_name,)+
            }
        }

        impl Cause {
            /// What is known of each cause of sleeps: the backend waits for this, and who finds much of it looks at that.
            pub const SLEEPS: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$blocked, $waits_for, $look_at),)+];
        }
    };
}

causes! {
    blocked {
        Fsync "fsync",
            "data to reach the disk, because the server asked for that",
            "the device of the log; commits per sync";
        BlockRead "block_read",
            "a block from the disk",
            "the storage section: which relation, which device, whose requests were first";
        BlockWrite "block_write",
            "the disk while it writes: often the rest of a page that it must read first",
            "read-before-write in the findings";
        WritebackWait "writeback_wait",
            "a page that is on its way to the disk and must not change until it is there",
            "`*_flush_after`; the device's `stable_writes`";
        DirtyThrottle "dirty_throttle",
            "nothing: the kernel slows it because too much memory is dirty",
            "`vm.dirty_*`, `*_flush_after`, the pace of the device";
        Journal "journal",
            "the file system's journal, which is full or on its way to the disk",
            "its size, `data=journal`, who syncs on the same file system";
        BlockQueue "block_queue",
            "a device that takes no request: closed, full, or holding writers back",
            "`nr_requests`, snapshots, `wbt_lat_usec`, io.cost";
        FilesystemLock "filesystem_lock",
            "a lock of the file system, as that of a file somebody else writes to",
            "what the one in front waits for";
        FilesystemFrozen "filesystem_frozen",
            "nothing: somebody froze the file system it writes to",
            "who froze it: a backup, a snapshot; `fsfreeze -u`";
        NetworkFilesystem "network_filesystem",
            "the server of a network file system, or the process of one in user space",
            "that server, the network, the process";
        MajorFault "major_fault",
            "a page of a mapped file, or of swapped memory",
            "swap, huge pages, memory of the host";
        Reclaim "reclaim",
            "nothing: it frees memory, because the host has none",
            "the memory section";
        MemcgReclaim "memcg_reclaim",
            "the same, because its cgroup is at its limit",
            "the container's memory limit";
        MemcgThrottle "memcg_throttle",
            "nothing: its cgroup is above `memory.high`",
            "`memory.high`";
        MemcgOom "memcg_oom",
            "memory: its cgroup has none, and nobody is killed",
            "the limit, `memory.oom_control`";
        MmapLock "mmap_lock",
            "the lock of its own address space",
            "who reads its `/proc/PID/smaps`";
        Frozen "frozen",
            "nothing: its cgroup is frozen",
            "who paused the container";
        Stopped "stopped",
            "nothing: a signal or a debugger stopped it",
            "SIGSTOP, gdb, strace";
        Futex "futex",
            "a semaphore in memory, as below an LWLock",
            "the wait event, and who held it (blockers)";
        Semaphore "semaphore",
            "a System V semaphore: the same on other builds",
            "the same";
        Poll "poll",
            "a latch, a socket or a timeout",
            "the wait event, and who held it";
        SocketRead "socket_read",
            "bytes of a client or of another server",
            "the wait event";
        SocketWrite "socket_write",
            "room to send: the other side does not read",
            "the client (`client_slow`)";
        Pipe "pipe",
            "another process at a pipe, as the log's collector",
            "that process";
        Sleep "sleep",
            "a time: `pg_sleep`, `commit_delay`, the delay of vacuum",
            "the wait event";
        Child "child",
            "a process it started, as an archive command",
            "the command";
        IoUring "io_uring",
            "reads it handed to the kernel (18)",
            "the storage section";
        Exit "exit",
            "its own end",
            "";
        Other "other",
            "nothing that the kernel tells of",
            "the wait event";
    }
    runnable {
        /// It was woken, and no CPU was free.
        Woken "woken";
        /// It had to give its CPU to others.
        Preempted "preempted";
        /// Its cgroup had used up its quota of CPU time.
        CpuQuota "cpu_quota";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/ledger.md` has exactly these rows; `PGSTROBE_BLESS=1` writes them.
    #[test]
    fn every_cause_is_explained() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ledger.md");
        let text = std::fs::read_to_string(path).unwrap();
        let head = "| cause | the backend waits for | what to look at |\n|---|---|---|\n";
        let (before, rest) = text.split_once(head).expect("the table of causes");
        let (_, after) = rest.split_once("\n\n").expect("the end of the table");
        let row = |(cause, waits_for, look_at): &(Cause, &str, &str)| {
            let end = if look_at.is_empty() { "| |".to_owned() } else { format!("| {look_at} |") };
            format!("| `{cause}` | {waits_for} {end}")
        };
        let rows: Vec<String> = Cause::SLEEPS.iter().map(row).collect();
        let right = format!("{before}{head}{}\n\n{after}", rows.join("\n"));
        if std::env::var_os("PGSTROBE_BLESS").is_some() {
            std::fs::write(path, &right).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == right, "docs/ledger.md is not what `causes!` says: bless it");
    }
}
