//! The kernel stack of a sleep that nothing else explains. Userspace knows the functions by which it tells.

use aya_ebpf::{
    macros::map,
    maps::StackTrace,
    programs::{BtfTracePointContext, tracing::StackIdContext as _},
};
use pgstrobe_common::context::{self, STACKS as MOST};

/// A stack has one place in it.
#[map]
static STACKS: StackTrace = StackTrace::with_max_entries(MOST, 0);

/// The current task's kernel stack, as bits of its context. Where another one has its place, it is taken without the function
/// called last, which is the scheduler's, and so has another; none where that is taken too.
#[inline(always)]
pub fn current(ctx: &BtfTracePointContext) -> u32 {
    let number = ctx.get_stackid(&STACKS, 0).or_else(|_| ctx.get_stackid(&STACKS, 1));
    number.map_or(0, |number| context::with_stack(number as u32))
}
