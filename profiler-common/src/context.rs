//! What the kernel was doing for a task when it left the CPU, as one word: the key of a blocked part beside its wait event.
//!
//! The kernel side only takes down facts; userspace makes a cause of them (`cause.rs` of the profiler).

/// Number of the system call the task is in (low bits); [`NO_SYSCALL`] in an exception (a page fault), or when unread.
pub const SYSCALL_MASK: u32 = 0xfff;
pub const NO_SYSCALL: u32 = 0xfff;

/// It sleeps until an event, not until a signal (`TASK_UNINTERRUPTIBLE`, `TASK_KILLABLE`).
pub const UNINTERRUPTIBLE: u32 = 1 << 12;
/// The kernel waits for a block device on its behalf (`task_struct.in_iowait`).
pub const IOWAIT: u32 = 1 << 13;
/// It frees memory for its own allocation (`PF_MEMALLOC`).
pub const RECLAIM: u32 = 1 << 14;
/// And the limit that made it do so is one of a memory cgroup.
pub const MEMCG_RECLAIM: u32 = 1 << 15;
/// It is made to wait because too much memory is dirty (`balance_dirty_pages`).
pub const DIRTY_THROTTLE: u32 = 1 << 16;
/// It is stopped or traced (`__TASK_STOPPED`, `__TASK_TRACED`).
pub const STOPPED: u32 = 1 << 17;
/// It is on its way out.
pub const EXITING: u32 = 1 << 18;

/// A call that makes data durable is under way, of whatever kind.
pub const SYNCING: u32 = 1 << 21;

/// It waits until a page under writeback is on its way no more, before it may change or drop it.
pub const WRITEBACK_WAIT: u32 = 1 << 22;

/// `WAIT_EVENT_CLIENT_READ` (the first of its class in all versions, src/include/utils/wait_event.h, wait_event_names.txt). A
/// backend that sleeps in it outside a statement is idle; in any other wait event, as in one for a client that does not read
/// its notifications, it is not.
pub const CLIENT_READ: u32 = 0x0600_0000;

/// Not of the kernel but of the server: the wait is for the next message of the client.
pub const IDLE: u32 = 1 << 19;
/// And a transaction is open meanwhile.
pub const IN_TRANSACTION: u32 = 1 << 20;

/// Its cgroup of version 2 is frozen (`task_struct.frozen`).
pub const FROZEN: u32 = 1 << 23;

/// Kernel stacks that are told apart.
pub const STACKS: u32 = 128;
/// From this bit on: the number of the kernel stack it sleeps in plus 1, where nothing else tells ([`is_unexplained`]); else 0.
const STACK_SHIFT: u32 = 24;

/// Whether nothing but the kernel stack says what it waits for: it sleeps until an event; or until a signal in a call on a
/// file, which may be one on a pipe, or one that a process in user space serves (FUSE). A wait for a block device that is no
/// read may be one for the file system's journal, or for the device's queue.
pub const fn is_unexplained(context: u32) -> bool {
    const TELLING: u32 =
        RECLAIM | MEMCG_RECLAIM | DIRTY_THROTTLE | STOPPED | FROZEN | EXITING | SYNCING | WRITEBACK_WAIT | IDLE;
    if context & TELLING != 0 {
        return false;
    }
    match (context & UNINTERRUPTIBLE != 0, context & IOWAIT != 0) {
        (true, true) => !reads(context),
        (true, false) => true,
        (false, _) => is_on_a_file(context),
    }
}

/// Whether the task is in a call that reads, or in a page fault: numbers of read, pread64, readv, preadv and preadv2
/// (arch/x86/entry/syscalls/syscall_64.tbl).
const fn reads(context: u32) -> bool {
    matches!(context & SYSCALL_MASK, 0 | 17 | 19 | 295 | 327 | NO_SYSCALL)
}

/// Whether it is in a call on a file: as above, and those that write, look up, make, change or remove one (of
/// arch/x86/entry/syscalls/syscall_64.tbl).
pub const fn is_on_a_file(context: u32) -> bool {
    // write, open, close, stat, fstat, lstat, lseek, pwrite64, writev, access
    const FIRST: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 18 | 1 << 20 | 1 << 21;
    let number = context & SYSCALL_MASK;
    match number {
        0..=31 => (FIRST | 1 | 1 << 17 | 1 << 19) >> number & 1 != 0,
        // truncate, ftruncate; rename, mkdir, rmdir, creat, link, unlink, symlink
        76 | 77 | 82..=88 => true,
        // getdents64, fadvise64, openat, mkdirat, newfstatat, unlinkat, renameat, linkat
        217 | 221 | 257 | 258 | 262..=265 => true,
        // fallocate, preadv, pwritev, renameat2, copy_file_range, preadv2, pwritev2, statx
        285 | 295 | 296 | 316 | 326..=328 | 332 => true,
        _ => false,
    }
}

/// The bits of a stack of this number; none for a number that is out of range.
pub const fn with_stack(number: u32) -> u32 {
    if number < STACKS { (number + 1) << STACK_SHIFT } else { 0 }
}

/// The bits of a sleep whose stack userspace read by itself: `row` of its table of causes. They are numbers beyond those of stacks
/// that the kernel side kept. None for a row that is out of range.
pub const fn told(row: u32) -> u32 {
    if row < MAX_TOLD { (STACKS + row + 1) << STACK_SHIFT } else { 0 }
}

/// As many rows can be told.
pub const MAX_TOLD: u32 = (1 << (u32::BITS - STACK_SHIFT)) - 1 - STACKS;

/// The bits that say how it sleeps and why: all but the system call and the number of the stack.
pub const HOW: u32 = ((1 << STACK_SHIFT) - 1) & !SYSCALL_MASK;

/// Number of the stack.
pub const fn stack_of(context: u32) -> Option<u32> {
    match context >> STACK_SHIFT {
        0 => None,
        number => Some(number - 1),
    }
}

const _: () = assert!(STACKS << STACK_SHIFT >> STACK_SHIFT == STACKS && 1 << STACK_SHIFT > FROZEN);
