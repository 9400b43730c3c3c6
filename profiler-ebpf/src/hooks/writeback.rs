//! The kernel's flusher at work: how many pages it hands to which device, and why. It works in steps, a few hundred a
//! second at the most.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::HashMap,
    programs::BtfTracePointContext,
};
use pgstrobe_common::{
    context,
    hits::Hit,
    lost::Lost,
    writeback::{WritebackKey, WritebackStep, WritebackSum},
};

use crate::{
    globals::{enter, lost, now},
    kernel::writeback::{Work, Writeback},
    pause, targets,
};

/// Steps under way, by `struct bdi_writeback`: a device and cgroup has one flusher at a time.
#[map]
static STEPS: HashMap<u64, WritebackStep> = HashMap::with_max_entries(1024, 0);

#[map]
static WRITTEN: HashMap<WritebackKey, WritebackSum> = HashMap::with_max_entries(1024, 0);

/// `(struct bdi_writeback *wb, struct wb_writeback_work *work)` (include/trace/events/writeback.h).
#[btf_tracepoint(function = "writeback_start")]
pub fn writeback_start(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Writeback);
    let Some(left) = Work(ctx.arg(1)).left() else {
        lost(Lost::ReadFailed);
        return 0;
    };
    if STEPS.insert(ctx.arg::<u64>(0), WritebackStep { left, began_ns: now() }, 0).is_err() {
        lost(Lost::WritebackFull);
    }
    0
}

/// As [`writeback_start`], after the step.
#[btf_tracepoint(function = "writeback_written")]
pub fn writeback_written(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Writeback);
    let (id, work): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    // SAFETY: a copy; only this flusher changes the entry.
    let Some(step) = unsafe { STEPS.get(id) }.copied() else { return 0 };
    let _ = STEPS.remove(id);
    let Some(left) = Work(work).left() else {
        lost(Lost::ReadFailed);
        return 0;
    };
    let pages = step.left - left;
    if pages <= 0 {
        return 0;
    }
    let (pages, busy_ns) = (pages as u64, now() - step.began_ns);
    let wb = Writeback(id);
    let mut key = WritebackKey { reason: Work(work).reason(), cgroup: wb.cgroup(), ..WritebackKey::default() };
    wb.device(&mut key.device);
    if let Some(sum) = WRITTEN.get_ptr_mut(key) {
        // SAFETY: as above: the key is of this flusher alone.
        unsafe {
            (*sum).pages += pages;
            (*sum).steps += 1;
            (*sum).busy_ns += busy_ns;
        }
    } else if WRITTEN.insert(key, WritebackSum { pages, steps: 1, busy_ns }, 0).is_err() {
        lost(Lost::WritebackFull);
    }
    0
}

/// `folio_wait_writeback`, and `wait_on_page_writeback` before 5.16: the task sleeps until a page is written, because it is
/// to change it while the device needs it as it is (stable pages), or to drop it.
#[btf_tracepoint(function = "folio_wait_writeback")]
pub fn page_wait(_ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Writeback);
    if let Some(b) = targets::current() {
        pause::announce(b, context::WRITEBACK_WAIT);
    }
    0
}
