//! Typed readers of kernel structs: the only code that dereferences them.
//!
//! Pointers that the verifier knows (arguments of `tp_btf`, the current task) are loaded directly, which costs one
//! instruction; all others go through `bpf_probe_read_kernel`.

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str_bytes,
    generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs},
};
use pgstrobe_common::{
    fields::ABSENT,
    record::{PATH_PART_LEN, PATH_PARTS},
};

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
}

/// Run-queue delay of the current task so far, in nanoseconds.
#[inline(always)]
pub fn current_run_delay() -> u64 {
    if setting!(task_btf) != 0 {
        // SAFETY: the helper returns a typed task.
        Task(unsafe { bpf_get_current_task_btf() }.cast()).run_delay()
    } else {
        // SAFETY: a helper without arguments.
        read(unsafe { bpf_get_current_task() }, setting!(kernel.task_run_delay)).unwrap_or(0)
    }
}

/// Second and third argument of the system call the current task is in: buffer and length of a send.
#[inline(always)]
pub fn current_buffer() -> Option<(u64, u64)> {
    if setting!(task_btf) == 0 || setting!(kernel.regs_si) == ABSENT || setting!(kernel.regs_dx) == ABSENT {
        return None;
    }
    // SAFETY: typed pointers from the kernel.
    unsafe {
        let regs = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        Some((load(regs, setting!(kernel.regs_si)), load(regs, setting!(kernel.regs_dx))))
    }
}

/// `struct file` of a descriptor of the current task.
#[inline(always)]
pub fn current_file(fd: u32) -> Option<File> {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = read(task, setting!(kernel.task_files))?;
    let table: u64 = read(files, setting!(kernel.files_fdt))?;
    let max: u32 = read(table, setting!(kernel.fdtable_max_fds))?;
    if fd >= max {
        return None;
    }
    let array: u64 = read(table, setting!(kernel.fdtable_fd))?;
    match read(array + fd as u64 * 8, 0)? {
        0 => None,
        file => Some(File(file)),
    }
}

/// Beginning of the current process's argument area, where Postgres keeps its title.
#[inline(always)]
pub fn current_title() -> Option<u64> {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let mm: u64 = read(task, setting!(kernel.task_mm))?;
    read(mm, setting!(kernel.mm_arg_start))
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
