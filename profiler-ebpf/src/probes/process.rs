//! Life and death of backends.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::{
    record::{Exit, Fork, Header, KIND_EXIT, KIND_FORK, STATEMENT_TERMINATED},
    state::{BACKEND_OPEN, BACKEND_STARTING, HIT_EXIT, HIT_FORK, LOST_BACKENDS_FULL},
};

use crate::{
    emit,
    globals::{FRESH, enter, lost, now},
    kernel::Task,
    ledger, statement, targets,
};

/// `(struct task_struct *parent, struct task_struct *child)`: a child of the postmaster is a backend from its first breath.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    enter!(HIT_FORK);
    let parent = Task::argument(ctx.arg(0)).tgid();
    if parent == 0 || parent != targets::postmaster() {
        return 0;
    }
    let child = Task::argument(ctx.arg(1));
    let pid = child.pid();
    if pid != child.tgid() {
        return 0;
    }
    let now = now();
    let Some(fresh) = FRESH.get_ptr_mut(0) else { return 0 };
    // SAFETY: per-CPU, and all its other fields stay zero.
    let fresh = unsafe { &mut *fresh };
    fresh.pid = pid;
    fresh.flags = BACKEND_STARTING;
    fresh.backend_type = u32::MAX;
    fresh.forked_ns = now;
    fresh.since_ns = now;
    if !targets::enter(fresh) {
        lost(LOST_BACKENDS_FULL);
        return 0;
    }
    emit::record(Fork { header: Header { kind: KIND_FORK, pid, ts_ns: now }, parent, _pad: 0 });
    0
}

/// `(struct task_struct *task, …)`.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    enter!(HIT_EXIT);
    let task = Task::argument(ctx.arg(0));
    let pid = task.pid();
    let Some(b) = targets::backend(pid) else { return 0 };
    let now = now();
    let status = task.exit_code();
    ledger::settle(b, task.run_delay());
    if b.flags & BACKEND_OPEN != 0 {
        if status == 0 {
            // A Terminate message: the client said good-bye. All else that ends a backend has a status.
            b.outside.runnable_ns += b.inside.runnable_ns;
            statement::forget(b, now);
        } else {
            let end = if b.sent_bytes != 0 { b.sent_ns } else { now };
            statement::finish(pid, b, end, 0, STATEMENT_TERMINATED);
        }
    }
    emit::flush(b);
    let outside_ns = (now - b.since_ns).saturating_sub(b.inside_ns);
    emit::record(Exit {
        header: Header { kind: KIND_EXIT, pid, ts_ns: now },
        status,
        backend_type: b.backend_type,
        outside_ns,
        outside: b.outside,
    });
    targets::leave(b);
    0
}
