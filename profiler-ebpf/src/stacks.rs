//! The kernel stack of a sleep that nothing else explains. Userspace knows the functions by which it tells.

use aya_ebpf::{
    macros::map,
    maps::StackTrace,
    programs::{BtfTracePointContext, tracing::StackIdContext as _},
};
use pgstrobe_common::context::{self, STACKS as MOST};

/// A stack whose place another one has is not taken.
#[map]
static STACKS: StackTrace = StackTrace::with_max_entries(MOST, 0);

/// The current task's kernel stack, as bits of its context; none where it has no place.
#[inline(always)]
pub fn current(ctx: &BtfTracePointContext) -> u32 {
    ctx.get_stackid(&STACKS, 0).map_or(0, |number| context::with_stack(number as u32))
}
