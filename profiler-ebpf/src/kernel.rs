//! Typed readers of kernel structs: the only code that dereferences them.
//!
//! Pointers that the verifier knows (arguments of `tp_btf`, the current task) are loaded directly, which costs one
//! instruction; all others go through `bpf_probe_read_kernel`.

pub mod block;
mod current;
mod faults;
pub mod writeback;

use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_kernel_str_bytes, generated::bpf_task_pt_regs};
use pgstrobe_common::{
    context,
    fields::ABSENT,
    record::{PATH_PART_LEN, PATH_PARTS},
};

pub use self::current::Current;
use crate::globals::setting;

/// Reads a field through the fault-tolerant helper.
#[inline(always)]
fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if offset == ABSENT || base == 0 {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + offset as u64) as *const T).ok() }
}

/// Loads a field of a struct whose type the verifier knows.
///
/// # Safety
/// `base` comes from the kernel with a BTF type, and `offset` is a field of it that is present.
#[inline(always)]
unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: by the contract above, the field lies within the struct.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<T>()) }
}

/// A `task_struct` whose type the verifier knows.
#[derive(Clone, Copy)]
pub struct Task(*const u8);

impl Task {
    /// An argument of a `tp_btf` program.
    #[inline(always)]
    pub const fn argument(task: *const u8) -> Self {
        Self(task)
    }

    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    pub fn pid(self) -> u32 {
        // SAFETY: the loader refuses to attach without this field.
        unsafe { load(self.0, setting!(kernel.task_pid)) }
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        // SAFETY: as `pid`.
        unsafe { load(self.0, setting!(kernel.task_tgid)) }
    }

    /// Its pid in the innermost pid namespace it is in, 0 when that cannot be read.
    #[inline(always)]
    pub fn namespace_pid(self) -> u32 {
        /// Size of `struct upid` on 64-bit machines: a number and a pointer (include/linux/pid.h).
        const UPID: u64 = 16;
        let offset = setting!(kernel.task_thread_pid);
        if offset == ABSENT {
            return 0;
        }
        // SAFETY: present.
        let pid: u64 = unsafe { load(self.0, offset) };
        let level: u32 = read(pid, setting!(kernel.pid_level)).unwrap_or(0);
        read(pid + level as u64 * UPID, setting!(kernel.pid_numbers)).unwrap_or(0)
    }

    #[inline(always)]
    pub fn state(self) -> u32 {
        // SAFETY: as `pid`.
        unsafe { load(self.0, setting!(kernel.task_state)) }
    }

    #[inline(always)]
    pub fn exit_code(self) -> u32 {
        // SAFETY: as `pid`.
        unsafe { load(self.0, setting!(kernel.task_exit_code)) }
    }

    /// Whether its memory is gone: it is exiting.
    #[inline(always)]
    pub fn without_memory(self) -> bool {
        let offset = setting!(kernel.task_mm);
        // SAFETY: present.
        offset == ABSENT || unsafe { load::<u64>(self.0, offset) } == 0
    }

    /// Cumulative time on a run queue, in nanoseconds.
    #[inline(always)]
    pub fn run_delay(self) -> u64 {
        let offset = setting!(kernel.task_run_delay);
        if offset == ABSENT {
            return 0;
        }
        // SAFETY: present.
        unsafe { load(self.0, offset) }
    }

    /// When it was last given a CPU, by the scheduler's clock; 0 when unknown.
    #[inline(always)]
    pub fn last_arrival(self) -> u64 {
        let offset = setting!(kernel.task_last_arrival);
        // SAFETY: present.
        if offset == ABSENT { 0 } else { unsafe { load(self.0, offset) } }
    }
}

impl Task {
    /// CPU time so far in nanoseconds, 0 when unknown.
    #[inline(always)]
    pub fn exec_runtime(self) -> u64 {
        let offset = setting!(kernel.task_exec_runtime);
        // SAFETY: present.
        if offset == ABSENT { 0 } else { unsafe { load(self.0, offset) } }
    }

    /// What the kernel is doing for it, as it leaves the CPU (see [`context`]).
    #[inline(always)]
    pub fn context(self) -> u32 {
        /// include/linux/sched.h.
        const TASK_UNINTERRUPTIBLE: u32 = 2;
        /// In the freezer of version 1, from 6.1 on.
        const TASK_FROZEN: u32 = 0x8000;
        const STOPPED_OR_TRACED: u32 = 4 | 8;
        const PF_EXITING: u32 = 4;
        const PF_MEMALLOC: u32 = 0x800;
        let state = self.state();
        let mut context = self.syscall();
        if state & (TASK_UNINTERRUPTIBLE | TASK_FROZEN) != 0 {
            context |= context::UNINTERRUPTIBLE;
        }
        if state & STOPPED_OR_TRACED != 0 {
            context |= context::STOPPED;
        }
        let offset = setting!(kernel.task_flags);
        if offset != ABSENT {
            // SAFETY: present.
            let flags: u32 = unsafe { load(self.0, offset) };
            if flags & PF_MEMALLOC != 0 {
                context |= context::RECLAIM;
            }
            if flags & PF_EXITING != 0 {
                context |= context::EXITING;
            }
        }
        if self.bit(setting!(kernel.task_in_iowait), setting!(in_iowait)) {
            context |= context::IOWAIT;
        }
        if self.bit(setting!(kernel.task_frozen), setting!(frozen)) {
            context |= context::FROZEN;
        }
        context
    }

    /// Whether a field of one bit is set; `false` when unknown.
    #[inline(always)]
    fn bit(self, offset: u32, mask: u32) -> bool {
        // SAFETY: present.
        offset != ABSENT && mask != 0 && unsafe { load::<u8>(self.0, offset) } as u32 & mask != 0
    }

    /// Number of the system call it is in.
    #[inline(always)]
    fn syscall(self) -> u32 {
        let offset = setting!(kernel.regs_orig_ax);
        if offset == ABSENT {
            return context::NO_SYSCALL;
        }
        let number: u64 = if setting!(task_btf) != 0 {
            // SAFETY: a typed task.
            unsafe { load(self.registers(), offset) }
        } else {
            let stack = setting!(kernel.task_stack);
            if stack == ABSENT {
                return context::NO_SYSCALL;
            }
            // SAFETY: present.
            let stack: u64 = unsafe { load(self.0, stack) };
            read(stack + REGS_ON_STACK, offset).unwrap_or(u64::MAX)
        };
        // Exceptions and interrupts leave -1 there.
        if number < context::NO_SYSCALL as u64 { number as u32 } else { context::NO_SYSCALL }
    }

    /// Whether it is in an `epoll_wait` without a timeout. A walsender, which asks for messages too, gives one.
    #[inline(always)]
    pub fn polls_without_end(self) -> bool {
        /// arch/x86/entry/syscalls/syscall_64.tbl.
        const EPOLL_WAIT: u64 = 232;
        let (number, timeout) = (setting!(kernel.regs_orig_ax), setting!(kernel.regs_r10));
        if setting!(task_btf) == 0 || number == ABSENT || timeout == ABSENT {
            return false;
        }
        // SAFETY: a typed task.
        unsafe {
            let registers = self.registers();
            load::<u64>(registers, number) == EPOLL_WAIT && load::<i32>(registers, timeout) == -1
        }
    }

    /// What it had in its registers as it entered the kernel (`struct pt_regs`).
    ///
    /// # Safety
    /// The task must be a typed one.
    #[inline(always)]
    unsafe fn registers(self) -> *const u8 {
        // SAFETY: by the caller; the kernel gives a typed pointer.
        unsafe { bpf_task_pt_regs(self.0.cast_mut().cast()) as *const u8 }
    }

    /// Whether its cgroup is out of CPU time.
    #[inline(always)]
    pub fn throttled(self) -> bool {
        let offset = setting!(kernel.task_cfs_rq);
        if offset == ABSENT {
            return false;
        }
        // SAFETY: present.
        let queue: u64 = unsafe { load(self.0, offset) };
        read::<u32>(queue, setting!(kernel.cfs_rq_throttle_count)).unwrap_or(0) != 0
    }
}

/// In how many periods the cgroup of the task at that address, or one above it, has run out of its CPU quota.
#[inline(always)]
pub fn group_throttles(task: u64) -> u32 {
    /// Groups looked at, from the task's own upward: a pod's container is the fifth or sixth below the root.
    const LEVELS: u32 = 8;
    let mut group: u64 = read(task, setting!(kernel.task_group)).unwrap_or(0);
    let mut throttles = 0u32;
    for _ in 0..LEVELS {
        if group == 0 {
            break;
        }
        throttles = throttles.wrapping_add(read(group, setting!(kernel.group_throttles)).unwrap_or(0));
        group = read(group, setting!(kernel.group_parent)).unwrap_or(0);
    }
    throttles
}

/// When the task at that address was last given a CPU, by the scheduler's clock; 0 when unknown.
#[inline(always)]
pub fn last_arrival(task: u64) -> u64 {
    read(task, setting!(kernel.task_last_arrival)).unwrap_or(0)
}

/// Where `struct pt_regs` of the entry from user space lies above the beginning of a task's stack, on x86-64 kernels before
/// 5.15, which have no `bpf_task_pt_regs`: `THREAD_SIZE` less the size of the struct (arch/x86/include/asm/processor.h).
const REGS_ON_STACK: u64 = 16_384 - 21 * 8;

/// A `struct bio`, an argument of a `tp_btf` program.
#[derive(Clone, Copy)]
pub struct Bio(*const u8);

impl Bio {
    /// Operations (`enum req_op`, include/linux/blk_types.h), in the low 8 bits of the flags.
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;

    #[inline(always)]
    pub const fn argument(bio: *const u8) -> Self {
        Self(bio)
    }

    /// Operation and bytes; none where a field of them is unknown.
    #[inline(always)]
    pub fn request(self) -> Option<(u32, u64)> {
        let (flags, bytes) = (setting!(kernel.bio_flags), setting!(kernel.bio_bytes));
        if flags == ABSENT || bytes == ABSENT {
            return None;
        }
        // SAFETY: present.
        unsafe { Some((load::<u32>(self.0, flags) & 0xff, load::<u32>(self.0, bytes) as u64)) }
    }

    /// Address of its device.
    #[inline(always)]
    pub fn device(self) -> u64 {
        let offset = setting!(kernel.bio_device);
        // SAFETY: present.
        if offset == ABSENT { 0 } else { unsafe { load(self.0, offset) } }
    }
}

/// A `struct inode`.
#[derive(Clone, Copy)]
pub struct Inode(pub u64);

impl Inode {
    /// `S_IFMT` and permission bits, 0 when unread.
    #[inline(always)]
    pub fn mode(self) -> u32 {
        read::<u16>(self.0, setting!(kernel.inode_mode)).unwrap_or(0) as u32
    }

    /// Length of the file in bytes.
    #[inline(always)]
    pub fn size(self) -> u64 {
        read(self.0, setting!(kernel.inode_size)).unwrap_or(0)
    }

    /// Device of its file system, 0 when unread.
    #[inline(always)]
    pub fn device(self) -> u32 {
        let block: u64 = read(self.0, setting!(kernel.inode_super_block)).unwrap_or(0);
        read(block, setting!(kernel.super_block_device)).unwrap_or(0)
    }
}

/// A `struct file`.
#[derive(Clone, Copy)]
pub struct File(pub u64);

impl File {
    /// `open(2)` flags.
    #[inline(always)]
    pub fn flags(self) -> u32 {
        read(self.0, setting!(kernel.file_flags)).unwrap_or(0)
    }

    #[inline(always)]
    pub fn inode(self) -> Option<Inode> {
        read(self.0, setting!(kernel.file_inode)).map(Inode)
    }

    /// Where the next read or write goes.
    #[inline(always)]
    pub fn position(self) -> u64 {
        read(self.0, setting!(kernel.file_position)).unwrap_or(0)
    }

    /// Hash and length of its name, 0 when unread.
    #[inline(always)]
    pub fn name_hash(self) -> u64 {
        let dentry: u64 = read(self.0, setting!(kernel.file_dentry)).unwrap_or(0);
        read(dentry, setting!(kernel.dentry_name_hash)).unwrap_or(0)
    }

    /// The beginnings of its name and of its directory's; none for what lies in no directory.
    #[inline(always)]
    pub fn names(self) -> Option<([u8; 8], [u8; 8])> {
        let dentry: u64 = read(self.0, setting!(kernel.file_dentry))?;
        let parent: u64 = read(dentry, setting!(kernel.dentry_parent))?;
        if parent == dentry {
            return None;
        }
        let name: u64 = read(dentry, setting!(kernel.dentry_name))?;
        let directory: u64 = read(parent, setting!(kernel.dentry_name))?;
        Some((read(name, 0)?, read(directory, 0)?))
    }

    /// Mode of the inode, 0 when unread.
    #[inline(always)]
    pub fn mode(self) -> u32 {
        let inode: Option<u64> = read(self.0, setting!(kernel.file_inode));
        inode.and_then(|inode| read::<u16>(inode, setting!(kernel.inode_mode))).unwrap_or(0) as u32
    }

    /// Writes the names from the file upward to the root of its file system; `false` when not even the first is read.
    #[inline(always)]
    pub fn path(self, into: &mut [[u8; PATH_PART_LEN]; PATH_PARTS]) -> bool {
        let mut dentry: u64 = read(self.0, setting!(kernel.file_dentry)).unwrap_or(0);
        let mut known = false;
        for part in into.iter_mut() {
            part[0] = 0;
            if dentry == 0 {
                continue;
            }
            let name: u64 = read(dentry, setting!(kernel.dentry_name)).unwrap_or(0);
            let parent: u64 = read(dentry, setting!(kernel.dentry_parent)).unwrap_or(0);
            if parent == dentry || name == 0 {
                dentry = 0;
                continue;
            }
            // SAFETY: the helper checks the address.
            known |= unsafe { bpf_probe_read_kernel_str_bytes(name as *const u8, part) }.is_ok();
            dentry = parent;
        }
        known
    }
}
