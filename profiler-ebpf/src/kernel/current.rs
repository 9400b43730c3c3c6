//! The current task, and what it is doing.
//!
//! A helper costs as much as dozens of loads, where a mitigation slows down every return all the more. So a program asks
//! once for the task, and takes all else from it.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs},
};
use pgstrobe_common::{context, faults::Faults, fields::ABSENT};

use super::{File, REGS_ON_STACK, Task, load, read};
use crate::globals::setting;

/// The current task: of a type that the verifier knows, except before 5.11 (`Settings::task_btf`).
#[derive(Clone, Copy)]
pub struct Current(*const u8);

impl Current {
    #[inline(always)]
    pub fn get() -> Self {
        // SAFETY: helpers without arguments.
        unsafe {
            Self(if setting!(task_btf) != 0 {
                bpf_get_current_task_btf() as *const u8
            } else {
                bpf_get_current_task() as *const u8
            })
        }
    }

    /// As a typed task.
    #[inline(always)]
    fn typed(self) -> Option<Task> {
        if setting!(task_btf) != 0 { Some(Task(self.0)) } else { None }
    }

    /// Where its `task_struct` is.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// Number of its thread; that of the process in its main thread.
    #[inline(always)]
    pub fn pid(self) -> u32 {
        match self.typed() {
            Some(task) => task.pid(),
            None => bpf_get_current_pid_tgid() as u32,
        }
    }

    /// Number of the process it is a thread of.
    #[inline(always)]
    pub fn process(self) -> u32 {
        match self.typed() {
            Some(task) => task.tgid(),
            None => (bpf_get_current_pid_tgid() >> 32) as u32,
        }
    }

    /// `task_struct.flags`, 0 when unknown.
    #[inline(always)]
    pub fn flags(self) -> u32 {
        let offset = setting!(kernel.task_flags);
        match self.typed() {
            _ if offset == ABSENT => 0,
            // SAFETY: present.
            Some(task) => unsafe { load(task.0, offset) },
            None => read(self.address(), offset).unwrap_or(0),
        }
    }

    /// Cumulative time on a run queue, in nanoseconds.
    #[inline(always)]
    pub fn run_delay(self) -> u64 {
        match self.typed() {
            Some(task) => task.run_delay(),
            None => read(self.address(), setting!(kernel.task_run_delay)).unwrap_or(0),
        }
    }

    /// Its page faults so far; none where they are unknown.
    #[inline(always)]
    pub fn faults(self) -> Faults {
        if let Some(task) = self.typed() {
            return task.faults();
        }
        let count = |offset| read(self.address(), offset).unwrap_or(0);
        Faults { minor: count(setting!(kernel.task_min_flt)), major: count(setting!(kernel.task_maj_flt)) }
    }

    /// Where its registers at the entry from user space are, for kernels without `bpf_task_pt_regs`.
    #[inline(always)]
    fn registers(self) -> u64 {
        read::<u64>(self.address(), setting!(kernel.task_stack)).unwrap_or(0) + REGS_ON_STACK
    }

    /// Number of the system call it is in, [`context::NO_SYSCALL`] in none or when unknown.
    #[inline(always)]
    pub fn syscall(self) -> u32 {
        if let Some(task) = self.typed() {
            return task.syscall();
        }
        let number: u64 = read(self.registers(), setting!(kernel.regs_orig_ax)).unwrap_or(u64::MAX);
        if number < context::NO_SYSCALL as u64 { number as u32 } else { context::NO_SYSCALL }
    }

    /// Second and third argument of the system call it is in: buffer and length of a send.
    #[inline(always)]
    pub fn buffer(self) -> Option<(u64, u64)> {
        let (second, third) = (setting!(kernel.regs_si), setting!(kernel.regs_dx));
        if second == ABSENT || third == ABSENT {
            return None;
        }
        let Some(task) = self.typed() else {
            let registers = self.registers();
            return Some((read(registers, second)?, read(registers, third)?));
        };
        // SAFETY: typed pointers from the kernel.
        unsafe {
            let registers = bpf_task_pt_regs(task.0.cast_mut().cast()) as *const u8;
            Some((load(registers, second), load(registers, third)))
        }
    }

    /// How many descriptors it has room for, and the array of them.
    #[inline(always)]
    fn descriptors(self) -> Option<(u32, u64)> {
        let (files, table) = (setting!(kernel.task_files), setting!(kernel.files_fdt));
        let (max, array) = (setting!(kernel.fdtable_max_fds), setting!(kernel.fdtable_fd));
        if let Some(task) = self.typed()
            && files != ABSENT
            && table != ABSENT
            && max != ABSENT
            && array != ABSENT
        {
            // SAFETY: a typed task and typed pointers from it; where one is NULL the kernel reads zeros.
            return unsafe {
                let table: *const u8 = load(load(task.0, files), table);
                Some((load(table, max), load(table, array)))
            };
        }
        let table: u64 = read(read(self.address(), files)?, table)?;
        Some((read(table, max)?, read(table, array)?))
    }

    /// `struct file` of a descriptor.
    #[inline(always)]
    pub fn file(self, fd: u32) -> Option<File> {
        let (max, array) = self.descriptors()?;
        if fd >= max {
            return None;
        }
        match read(array + fd as u64 * 8, 0)? {
            0 => None,
            file => Some(File(file)),
        }
    }

    /// Beginning of the process's argument area, where Postgres keeps its title.
    #[inline(always)]
    pub fn title(self) -> Option<u64> {
        let mm: u64 = read(self.address(), setting!(kernel.task_mm))?;
        read(mm, setting!(kernel.mm_arg_start))
    }
}
