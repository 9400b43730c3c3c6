//! `sched_switch`: the ledger's clockwork.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::state::HIT_SWITCH;

use crate::{
    globals::{enter, now},
    kernel::Task,
    ledger, targets,
};

/// `(bool preempt, struct task_struct *prev, struct task_struct *next)` (include/trace/events/sched.h).
#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let prev = Task::argument(ctx.arg(1));
    let next = Task::argument(ctx.arg(2));
    let (prev_pid, next_pid) = (prev.pid(), next.pid());
    enter!(HIT_SWITCH);
    // Process 0 is the idle task.
    if prev_pid != 0
        && let Some(b) = targets::backend(prev_pid)
    {
        ledger::depart(b, prev, ctx.arg::<u64>(0) & 1 != 0, now());
    }
    if next_pid != 0
        && let Some(b) = targets::backend(next_pid)
    {
        ledger::arrive(b, now());
    }
    0
}
