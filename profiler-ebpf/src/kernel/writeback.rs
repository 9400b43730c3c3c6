//! Readers of what writeback works with (fs/fs-writeback.c, mm/page-writeback.c).

use aya_ebpf::{helpers::bpf_probe_read_kernel_str_bytes, programs::BtfTracePointContext};
use pgstrobe_common::{
    fields::ABSENT,
    writeback::{DEVICE_LEN, DIRTY_ARGUMENTS_PLAIN, DIRTY_ARGUMENTS_UNKNOWN, DirtyLimits},
};

use super::read;
use crate::globals::setting;

/// A `struct bdi_writeback`: the pages of one device and cgroup that wait for the flusher.
#[derive(Clone, Copy)]
pub struct Writeback(pub u64);

impl Writeback {
    /// Name of the device, all zeros when unread.
    #[inline(always)]
    pub fn device(self, into: &mut [u8; DEVICE_LEN]) {
        let offset = setting!(kernel.bdi_dev_name);
        let bdi: u64 = read(self.0, setting!(kernel.wb_bdi)).unwrap_or(0);
        if offset != ABSENT && bdi != 0 {
            // SAFETY: the helper checks the address.
            let _ = unsafe { bpf_probe_read_kernel_str_bytes((bdi + offset as u64) as *const u8, into) };
        }
    }

    /// Inode of its cgroup, 0 without one (`CONFIG_CGROUP_WRITEBACK`).
    #[inline(always)]
    pub fn cgroup(self) -> u64 {
        let css: u64 = read(self.0, setting!(kernel.wb_memcg_css)).unwrap_or(0);
        let cgroup: u64 = read(css, setting!(kernel.css_cgroup)).unwrap_or(0);
        let node: u64 = read(cgroup, setting!(kernel.cgroup_kn)).unwrap_or(0);
        read(node, setting!(kernel.kernfs_id)).unwrap_or(0)
    }
}

/// A `struct wb_writeback_work`: what the flusher is at.
#[derive(Clone, Copy)]
pub struct Work(pub u64);

impl Work {
    /// Pages it still may write; it counts down.
    #[inline(always)]
    pub fn left(self) -> Option<i64> {
        read(self.0, setting!(kernel.work_nr_pages))
    }

    #[inline(always)]
    pub fn reason(self) -> u32 {
        read(self.0, setting!(kernel.work_reason)).unwrap_or(u32::MAX)
    }
}

/// Arguments of `balance_dirty_pages` that all its forms have (`DIRTY_ARGUMENTS_`).
pub type DirtyArguments = [u64; 8];

/// Read at once: the verifier wants each argument at a place of its own, and the compiler would make one load of two in
/// different branches. All zero where the form is not known.
#[inline(always)]
pub fn dirty_arguments(ctx: &BtfTracePointContext) -> DirtyArguments {
    match setting!(dirty_arguments) {
        DIRTY_ARGUMENTS_UNKNOWN => [0; 8],
        _ => core::array::from_fn(|i| ctx.arg(i)),
    }
}

/// Whether `balance_dirty_pages` makes the task pause, and does not only look; also where that is not known.
#[inline(always)]
pub fn pauses(ctx: &BtfTracePointContext, arguments: &DirtyArguments) -> bool {
    // In ticks of the kernel's clock.
    let pause: u64 = match setting!(dirty_arguments) {
        DIRTY_ARGUMENTS_UNKNOWN => 1,
        DIRTY_ARGUMENTS_PLAIN => ctx.arg(10),
        _ => arguments[6],
    };
    pause as i64 > 0
}

/// What the kernel goes by in `balance_dirty_pages`.
#[inline(always)]
pub fn dirty_limits(arguments: &DirtyArguments) -> DirtyLimits {
    let mut limits = DirtyLimits::default();
    if setting!(dirty_arguments) == DIRTY_ARGUMENTS_PLAIN {
        limits.limit = arguments[1];
        limits.background = arguments[2];
        limits.dirty = arguments[3];
        limits.device_limit = arguments[4];
        limits.device_dirty = arguments[5];
        limits.rate = arguments[7];
    } else {
        let control = arguments[1];
        limits.dirty = read(control, setting!(kernel.dtc_dirty)).unwrap_or(0);
        limits.limit = read(control, setting!(kernel.dtc_thresh)).unwrap_or(0);
        limits.background = read(control, setting!(kernel.dtc_bg_thresh)).unwrap_or(0);
        limits.device_dirty = read(control, setting!(kernel.dtc_wb_dirty)).unwrap_or(0);
        limits.device_limit = read(control, setting!(kernel.dtc_wb_thresh)).unwrap_or(0);
        limits.rate = arguments[3];
    }
    Writeback(arguments[0]).device(&mut limits.device);
    limits
}
