//! The scheduler: switches are the ledger's clockwork, wake-ups say who ended a wait.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::{
    hits::Hit,
    state::{BACKEND_OFF, BACKEND_SLEPT, BACKEND_THROTTLED},
};

use crate::{
    clusters,
    globals::{enter, now},
    kernel::Task,
    ledger, stacks, targets, wake,
};

/// `(bool preempt, struct task_struct *prev, struct task_struct *next)` (include/trace/events/sched.h).
#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let prev = Task::argument(ctx.arg(1));
    let next = Task::argument(ctx.arg(2));
    let (prev_pid, next_pid) = (prev.pid(), next.pid());
    enter!(Hit::Switch);
    // Process 0 is the idle task.
    if prev_pid != 0
        && let Some(b) = targets::backend(prev_pid)
    {
        ledger::depart(b, prev, ctx.arg::<u64>(0) & 1 != 0, now(), || stacks::current(&ctx));
    }
    if next_pid != 0
        && let Some(b) = targets::backend(next_pid)
    {
        ledger::arrive(b, next, now());
    }
    0
}

/// `(struct task_struct *p)`, in the context of the one that wakes it (include/trace/events/sched.h).
#[btf_tracepoint(function = "sched_waking")]
pub fn sched_waking(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Wake);
    let task = Task::argument(ctx.arg(0));
    const ASLEEP: u32 = BACKEND_OFF | BACKEND_SLEPT;
    if let Some(b) = targets::backend(task.pid())
        && b.flags & ASLEEP == ASLEEP
        && let Some(cluster) = clusters::of(b)
    {
        if cluster.quota != 0 && task.throttled() {
            b.flags |= BACKEND_THROTTLED;
        }
        wake::woken(b, cluster);
    }
    0
}
