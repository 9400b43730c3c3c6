//! Causes that only the kernel's stack tells: of a sleep that no tracepoint announced, and that is neither a read from a
//! device nor one of the calls that are there to wait.
//!
//! The kernel side keeps each such stack once, and its number is part of the context. What a number means is the same for
//! the whole process, so it is kept in one place, and a ledger needs no more than its words.

use std::sync::atomic::{AtomicU8, Ordering};

use pgstrobe_common::{
    context::{self, STACKS},
    ledger::Part,
};

use crate::{
    kernel::symbols::{self, Function},
    maps::ReadStack,
    vocabulary::Cause,
};

/// Functions that tell what a task waits for, wherever in its stack they are. Where several do, it is the one called last.
/// Names differ between kernels; one that a kernel does not have, or has compiled into its callers, is not found there.
const FUNCTIONS: &[(Cause, &[&str])] = &[
    // mm/memcontrol.c
    (Cause::MemcgThrottle, &["mem_cgroup_handle_over_high", "__mem_cgroup_handle_over_high"]),
    // mm/memcontrol.c, memcontrol-v1.c
    (Cause::MemcgOom, &["mem_cgroup_oom_synchronize", "mem_cgroup_oom"]),
    // mm/vmscan.c: before the flag by which reclaim is known is set
    (Cause::Reclaim, &["throttle_direct_reclaim", "reclaim_throttle", "wait_iff_congested"]),
    // mm/mmap.c, mm/mmap_lock.c, mm/vma.c, mm/util.c
    (Cause::MmapLock, &["lock_mm_and_find_vma", "vm_mmap_pgoff", "__vm_munmap", "__do_sys_brk", "do_mprotect_pkey"]),
    // fs/jbd2
    (
        Cause::Journal,
        &[
            "start_this_handle",
            "add_transaction_credits",
            "wait_transaction_locked",
            "wait_transaction_switching",
            "__jbd2_log_wait_for_space",
            "jbd2_log_do_checkpoint",
            "jbd2_log_wait_commit",
            "do_get_write_access",
        ],
    ),
    // fs/xfs, fs/btrfs
    (Cause::Journal, &["xlog_grant_head_wait", "xfs_log_force_seq", "xfs_log_force", "wait_current_trans"]),
    // block
    (
        Cause::BlockQueue,
        &["rq_qos_wait", "blk_mq_get_tag", "blk_queue_enter", "__bio_queue_enter", "blkcg_maybe_throttle_current"],
    ),
    // net/sunrpc, fs/nfs, fs/fuse, fs/smb, net/9p, fs/ceph
    (
        Cause::NetworkFilesystem,
        &[
            "rpc_wait_bit_killable",
            "nfs_wait_bit_killable",
            "request_wait_answer",
            "wait_for_response",
            "p9_client_rpc",
            "ceph_mdsc_wait_request",
        ],
    ),
    // kernel/locking/percpu-rwsem.c, fs/super.c: the lock that a frozen file system holds against writers (`sb_start_write`
    // is inlined). Other locks of this kind are taken by calls that are on no file: fork, exit, changes of cgroups.
    (Cause::FilesystemFrozen, &["percpu_rwsem_wait", "__percpu_down_read", "__sb_start_write"]),
    // kernel/freezer.c: a group of version 1
    (Cause::Frozen, &["__refrigerator"]),
];

/// By number of the stack: 0 for one that was not looked at, 1 for one that tells nothing, else the place in [`FUNCTIONS`]
/// plus 2.
static KNOWN: [AtomicU8; STACKS as usize] = [const { AtomicU8::new(0) }; STACKS as usize];

const SAYS_NOTHING: u8 = 1;

/// Where a task is while it waits for a block device: the functions that call `io_schedule` (mm/filemap.c, kernel/sched/wait_bit.c,
/// fs/buffer.c, block, fs/iomap), which the kernel's own print of a stack leaves out.
const WAITS_FOR_DEVICE: &[&str] = &[
    "folio_wait_bit_common",
    "wait_on_page_bit_common",
    "__lock_page_killable",
    "bit_wait_io",
    "__wait_on_buffer",
    "submit_bio_wait",
    "rq_qos_wait",
    "blk_mq_get_tag",
    "__iomap_dio_rw",
];

/// What a context says of the stack of a task that was found asleep, as the kernel prints it (`/proc/PID/stack`, fs/proc/base.c):
/// a function a line, `[<0>] NAME+OFFSET/LENGTH`, innermost first.
pub fn found(stack: &str) -> u32 {
    let mut told = 0;
    for name in stack.lines().filter_map(|line| line.split_once("] ")?.1.split('+').next()) {
        if WAITS_FOR_DEVICE.contains(&name) {
            told |= context::IOWAIT;
        }
        // kernel/cgroup/freezer.c
        if name == "do_freezer_trap" {
            told |= context::FROZEN;
        }
        if context::stack_of(told).is_none()
            && let Some(row) = FUNCTIONS.iter().position(|(_, row)| row.contains(&name))
        {
            told |= context::told(row as u32);
        }
    }
    told
}

/// The cause of a sleep in the stack of this number.
pub(super) fn cause(number: u32) -> Option<Cause> {
    if let Some(row) = number.checked_sub(STACKS) {
        return FUNCTIONS.get(row as usize).map(|(cause, _)| *cause);
    }
    let known = KNOWN.get(number as usize)?.load(Ordering::Relaxed);
    FUNCTIONS.get(usize::from(known).checked_sub(2)?).map(|(cause, _)| *cause)
}

/// Those that a stack may tell.
#[cfg(test)]
pub(super) fn causes() -> impl Iterator<Item = Cause> {
    FUNCTIONS.iter().map(|(cause, _)| *cause)
}

/// The stacks that the kernel side kept.
pub struct Stacks {
    /// Addresses by number; none where the kernel keeps no stacks.
    read: Option<ReadStack>,
    /// Read when the first stack comes.
    functions: Option<Vec<Function>>,
}

impl Stacks {
    /// `read` gives the addresses of a stack by its number, innermost first.
    pub fn new(read: Option<ReadStack>) -> Self {
        // The numbers of an earlier profile in this process meant other stacks.
        KNOWN.iter().for_each(|known| known.store(0, Ordering::Relaxed));
        Self { read, functions: None }
    }

    /// Whether there was a stack, and no function of the kernel can be told by its address.
    pub fn are_unreadable(&self) -> bool {
        self.functions.as_ref().is_some_and(Vec::is_empty)
    }

    /// Looks at the stacks of these parts that are new, so that [`Sleep::of`](super::Sleep::of) knows them.
    #[inline]
    pub fn learn(&mut self, parts: &[Part]) {
        parts.iter().take_while(|part| part.count != 0).for_each(|part| self.learn_word(part.context));
    }

    /// The same for one context.
    #[inline]
    pub fn learn_word(&mut self, context: u32) {
        if let Some(number) = context::stack_of(context)
            && let Some(known) = KNOWN.get(number as usize)
            && known.load(Ordering::Relaxed) == 0
        {
            known.store(self.look(number), Ordering::Relaxed);
        }
    }

    #[cold]
    fn look(&mut self, number: u32) -> u8 {
        let Some(addresses) = self.read.as_ref().and_then(|read| read(number)) else { return SAYS_NOTHING };
        let names: Vec<&str> = FUNCTIONS.iter().flat_map(|(_, names)| *names).copied().collect();
        let functions = self.functions.get_or_insert_with(|| {
            symbols::functions(&names).unwrap_or_else(|error| {
                tracing::debug!("the kernel's symbols: {error}");
                Vec::new()
            })
        });
        tracing::debug!("stack {number}: {addresses:x?}");
        told_by(&addresses, functions, &names).map_or(SAYS_NOTHING, |row| row as u8 + 2)
    }
}

/// The row of [`FUNCTIONS`] that the innermost telling function of a stack is in.
fn told_by(stack: &[u64], functions: &[Function], names: &[&str]) -> Option<usize> {
    let innermost = stack.iter().find_map(|address| functions.iter().find(|f| f.addresses.contains(address)))?;
    let name = names.get(innermost.name)?;
    FUNCTIONS.iter().position(|(_, row)| row.contains(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::Sleep, *};

    #[test]
    fn the_function_called_last_tells() {
        let names = ["rq_qos_wait", "start_this_handle"];
        let at = |start: u64, name| Function { addresses: start..start + 0x100, name };
        let functions = [at(0x1000, 0), at(0x2000, 1)];
        let cause = |stack: &[u64]| told_by(stack, &functions, &names).map(|row| FUNCTIONS[row].0);
        assert_eq!(cause(&[0x10, 0x1080, 0x20, 0x2010]), Some(Cause::BlockQueue));
        assert_eq!(cause(&[0x10, 0x20ff, 0x1000]), Some(Cause::Journal));
        assert_eq!(cause(&[0x10, 0x2100]), None);
        assert_eq!(cause(&[]), None);
    }

    #[test]
    fn a_function_is_in_the_table_once() {
        let mut seen = BTreeSet::new();
        assert!(FUNCTIONS.iter().flat_map(|(_, names)| *names).all(|name| seen.insert(name)));
        assert!(FUNCTIONS.len() < usize::from(u8::MAX) - 2);
        assert!(FUNCTIONS.len() <= context::MAX_TOLD as usize);
    }

    #[test]
    fn a_stack_that_was_found_tells_as_well() {
        use context::*;
        let frozen =
            "[<0>] percpu_rwsem_wait+0x116/0x140\n[<0>] vfs_write+0x30b/0x3f0\n[<0>] do_syscall_64+0x5b/0xb0\n";
        assert_eq!(Sleep::of(UNINTERRUPTIBLE | 18 | found(frozen)), Sleep::Blocked(Cause::FilesystemFrozen));
        let read = "[<0>] folio_wait_bit_common+0x13d/0x350\n[<0>] filemap_read+0x2d9/0x3a0\n";
        assert_eq!(found(read), IOWAIT);
        assert_eq!(Sleep::of(UNINTERRUPTIBLE | 17 | found(read)), Sleep::Blocked(Cause::BlockRead));
        let journal =
            "[<0>] jbd2_log_wait_commit+0x1/0x2\n[<0>] start_this_handle+0x1/0x2\n[<0>] __wait_on_buffer+0x1/0x2\n";
        let frozen = "[<0>] do_freezer_trap+0x61/0x90\n[<0>] get_signal+0x6f3/0x900\n";
        assert_eq!(Sleep::of(NO_SYSCALL | found(frozen)), Sleep::Blocked(Cause::Frozen));
        let last = (0..MAX_TOLD).map(told).max();
        assert_eq!(Sleep::of(UNINTERRUPTIBLE | 18 | found(journal)), Sleep::Blocked(Cause::Journal));
        assert_eq!(
            (found(""), found("[<0>] 0xffff\nno stack"), last.and_then(stack_of)),
            (0, 0, Some(STACKS + MAX_TOLD - 1))
        );
    }

    #[test]
    fn a_stack_explains_what_nothing_else_does() {
        use context::*;
        let frozen = FUNCTIONS.iter().position(|(cause, _)| *cause == Cause::Frozen).expect("a row");
        KNOWN[7].store(frozen as u8 + 2, Ordering::Relaxed);
        KNOWN[8].store(SAYS_NOTHING, Ordering::Relaxed);
        let lock = FUNCTIONS.iter().position(|(_, names)| names.contains(&"percpu_rwsem_wait")).expect("a row");
        KNOWN[9].store(lock as u8 + 2, Ordering::Relaxed);
        assert_eq!(Sleep::of(UNINTERRUPTIBLE | 18 | with_stack(9)), Sleep::Blocked(Cause::FilesystemFrozen));
        assert_eq!(
            Sleep::of(UNINTERRUPTIBLE | 56 | with_stack(9)),
            Sleep::Blocked(Cause::Child),
            "of fork, for the cgroups"
        );
        assert_eq!(Sleep::of(UNINTERRUPTIBLE | 231 | with_stack(9)), Sleep::Blocked(Cause::Exit));
        assert_eq!(Sleep::of(UNINTERRUPTIBLE | NO_SYSCALL | with_stack(7)), Sleep::Blocked(Cause::Frozen));
        assert_eq!(Sleep::of(UNINTERRUPTIBLE | 18 | with_stack(8)), Sleep::Blocked(Cause::FilesystemLock));
        assert_eq!(Sleep::of(UNINTERRUPTIBLE | 18 | with_stack(127)), Sleep::Blocked(Cause::FilesystemLock));
        for (word, unexplained) in [
            (UNINTERRUPTIBLE | 18, true),
            (18, true),
            (232, false),
            (NO_SYSCALL, false),
            (UNINTERRUPTIBLE | FROZEN, false),
            (UNINTERRUPTIBLE | IOWAIT | NO_SYSCALL, false),
            (UNINTERRUPTIBLE | IOWAIT | 17, false),
            (UNINTERRUPTIBLE | IOWAIT | 18, true),
            (IDLE | NO_SYSCALL, false),
        ] {
            assert_eq!(is_unexplained(word), unexplained, "{word:#x}");
        }
        assert_eq!((stack_of(with_stack(127)), stack_of(18 | IOWAIT)), (Some(127), None));
    }
}
