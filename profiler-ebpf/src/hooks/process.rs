//! Life and death of backends.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use pgstrobe_common::{
    cluster::NO_CLUSTER,
    files::IO_OF_PROCESS,
    hits::Hit,
    lost::Lost,
    record::{Exec, Exit, Fork, Header, STATEMENT_CUT, STATEMENT_TERMINATED, TITLE_LEN, Title, WalWritten},
    state::{BACKEND_CUT, BACKEND_IO, BACKEND_OFF, BACKEND_OPEN, BACKEND_STARTING, Backend},
};

use crate::{
    clusters, emit, faults,
    globals::{FRESH, enter, lost, now},
    instructions,
    kernel::{Current, Task},
    ledger, postgres, reclaim, statement, targets,
};

/// `(struct task_struct *parent, struct task_struct *child)`: a child of the postmaster is a backend from its first breath.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Fork);
    forked(&ctx, 0)
}

/// Takes over where the first was left out.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork_again(ctx: BtfTracePointContext) -> i32 {
    match targets::backend(Task::argument(ctx.arg(1)).pid()) {
        Some(_) => 0,
        None => forked(&ctx, 1),
    }
}

/// `buffer` is the program's own of `FRESH`.
#[inline(always)]
fn forked(ctx: &BtfTracePointContext, buffer: u32) -> i32 {
    let parent = Task::argument(ctx.arg(0)).tgid();
    let Some(cluster) = clusters::of_postmaster(parent) else { return 0 };
    let child = Task::argument(ctx.arg(1));
    let pid = child.pid();
    if pid != child.tgid() {
        return 0;
    }
    let now = now();
    let Some(fresh) = FRESH.get_ptr_mut(buffer) else { return 0 };
    // SAFETY: per-CPU, and all its other fields stay zero.
    let fresh = unsafe { &mut *fresh };
    fresh.pid = pid;
    fresh.cluster = cluster;
    // It waits for its first CPU.
    fresh.flags = BACKEND_STARTING | BACKEND_OFF;
    fresh.off_ns = now;
    fresh.backend_type = u32::MAX;
    fresh.forked_ns = now;
    fresh.since_ns = now;
    if !targets::enter(fresh) {
        lost(Lost::BackendsFull);
        return 0;
    }
    emit::send(
        Fork { header: emit::header::<Fork>(fresh, now), parent, namespace_pid: child.namespace_pid() },
        Lost::OtherRecords,
    );
    0
}

/// `(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`: a postmaster begins as any other program. What its
/// name may be is told from others here, and what it is by userspace.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(_ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Fork);
    let name = bpf_get_current_comm().unwrap_or_default();
    if !SERVER_NAMES.iter().any(|start| name.starts_with(start)) {
        return 0;
    }
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    emit::send(Exec { header: Header::of::<Exec>(NO_CLUSTER, pid, now()) }, Lost::OtherRecords);
    0
}

/// The beginnings of names of executables that may be a server: postgres, postmaster, edb-postgres.
const SERVER_NAMES: [[u8; 4]; 2] = [*b"post", *b"edb-"];

/// The process is about to end, and its memory is still there, which it need not be at `sched_process_exit`. Who served
/// no client has not said who it is yet, and all have an account of the WAL they wrote.
#[inline(always)]
pub fn ends(task: Current, b: &mut Backend) {
    if let Some(usage) = postgres::wal_usage(b) {
        emit::send(WalWritten { header: emit::header::<WalWritten>(b, now()), usage }, Lost::OtherRecords);
    }
    if b.flags & BACKEND_STARTING == 0 {
        return;
    }
    emit::build(emit::header::<Title>(b, now()), Lost::RingFull, |record: &mut Title| {
        record.backend_type = postgres::backend_type(b);
        record._pad = 0;
        // A title that cannot be read is empty.
        let title: &mut [u8; TITLE_LEN] = &mut record.title;
        postgres::string(task.title().unwrap_or(0), title);
    });
}

/// `(struct task_struct *task, …)`.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::Exit);
    exited(&ctx)
}

/// Takes over where the first was left out: then the backend is still known.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit_again(ctx: BtfTracePointContext) -> i32 {
    exited(&ctx)
}

#[inline(always)]
fn exited(ctx: &BtfTracePointContext) -> i32 {
    let task = Task::argument(ctx.arg(0));
    let pid = task.pid();
    let Some(b) = targets::backend(pid) else { return 0 };
    let now = now();
    let status = task.exit_code();
    ledger::settle(b, task.run_delay(), || task.address());
    if b.flags & BACKEND_OPEN != 0 {
        if status == 0 {
            // A Terminate message: the client said good-bye. All else that ends a backend has a status.
            ledger::account(b, now);
            ledger::give_back(b);
            statement::forget(b, now);
        } else {
            let end = if b.sent_bytes != 0 { b.sent_ns } else { now };
            // One that was found running has no latency, however it ends.
            let cut = if b.flags & BACKEND_CUT != 0 { STATEMENT_CUT } else { 0 };
            statement::finish(b, task.faults(), end, 0, STATEMENT_TERMINATED | cut);
        }
    } else if b.flags & BACKEND_STARTING == 0 {
        // By a timeout, an administrator, or a signal.
        statement::idle_until(b, now);
    }
    ledger::close(b, now);
    emit::flush(b);
    if b.flags & BACKEND_IO != 0 {
        emit::io(b, now, 0, IO_OF_PROCESS);
    }
    reclaim::reclaim_exits(pid);
    faults::exit(b, &task.faults(), now);
    let outside_ns = (now - b.since_ns).saturating_sub(b.inside_ns);
    emit::build(emit::header::<Exit>(b, now), Lost::RingFull, |record: &mut Exit| {
        record.status = status;
        record.backend_type = b.backend_type;
        record.outside_ns = outside_ns;
        record.idle = b.idle;
        // SAFETY: values of a map and of a record, of plain numbers.
        unsafe {
            instructions::copy(&mut record.outside, &b.outside);
            instructions::copy(&mut record.samples, &b.outside_samples);
        }
    });
    targets::leave(b);
    0
}
