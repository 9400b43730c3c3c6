//! Calls that make data durable: how long, by whom, on which file.
//!
//! The file's name is read in the kernel while the call is under way, so it is the name of that moment: a WAL segment is
//! recycled under a new name, and a descriptor means another file in another process.

use aya_ebpf::{EbpfContext, macros::tracepoint, programs::TracePointContext};
use pgstrobe_common::{
    hits::Hit,
    lost::Lost,
    record::{Checkpoint, SYNC_FDATASYNC, SYNC_FILE_RANGE, SYNC_FSYNC, SYNC_MSYNC, SYNC_WRITE, Sync},
    state::Backend,
};

use crate::{
    emit,
    globals::{enter, lost, now},
    kernel::{Current, File},
    postgres, targets,
};

/// `O_DSYNC`, which `O_SYNC` includes (include/uapi/asm-generic/fcntl.h).
const O_DSYNC: u32 = 0o10000;

/// `STDERR_FILENO`: where the server's log lines leave each process.
const STDERR: u32 = 2;

/// Each checkpoint ends with a sync of it (`UpdateControlFile`, src/backend/access/transam/xlog.c).
const CONTROL_FILE: &[u8] = b"pg_control\0";

/// Offset of the arguments, and of the result, in the system-call tracepoints (their `format` files).
const ARGUMENTS: usize = 16;

#[inline(always)]
fn first(ctx: &TracePointContext) -> u64 {
    // SAFETY: within the context of a system-call tracepoint.
    unsafe { *ctx.as_ptr().cast::<u8>().add(ARGUMENTS).cast::<u64>() }
}

#[inline(always)]
fn enter(ctx: &TracePointContext, call: u32) -> u32 {
    enter!(Hit::Sync);
    let task = Current::get();
    let Some(b) = targets::of(task) else { return 0 };
    if call == SYNC_WRITE && first(ctx) as u32 == STDERR {
        // With log_checkpoints: its line comes right after the end.
        checkpoint(b);
    }
    let file = if call == SYNC_MSYNC { None } else { task.file(first(ctx) as u32) };
    if call == SYNC_WRITE && file.is_none_or(|file| file.flags() & O_DSYNC == 0) {
        return 0;
    }
    b.sync_file = file.map_or(0, |file| file.0);
    b.sync_call = call;
    b.sync_ns = now();
    0
}

#[inline(always)]
fn exit(ctx: &TracePointContext) -> u32 {
    enter!(Hit::Sync);
    let Some(b) = targets::current() else { return 0 };
    if b.sync_ns == 0 {
        return 0;
    }
    let now = now();
    let began = b.sync_ns;
    b.sync_ns = 0;
    let mut ends_checkpoint = false;
    emit::build(emit::header::<Sync>(b, now), Lost::RingFull, |sync: &mut Sync| {
        sync.duration_ns = now - began;
        sync.syscall = b.sync_call;
        sync.ret = first(ctx) as i32;
        sync.backend_type = postgres::backend_type(b);
        sync.file_mode = File(b.sync_file).mode();
        // Parts that are not read begin with a zero.
        if !File(b.sync_file).path(&mut sync.path) && b.sync_call != SYNC_MSYNC {
            lost(Lost::FileName);
        }
        ends_checkpoint = sync.path[0].starts_with(CONTROL_FILE);
    });
    if ends_checkpoint {
        checkpoint(b);
    }
    0
}

/// What this process keeps of its checkpoint, if it makes any.
#[inline(always)]
fn checkpoint(b: &Backend) {
    if let Some(stats) = postgres::checkpoint(b) {
        emit::send(Checkpoint { header: emit::header::<Checkpoint>(b, now()), stats }, Lost::OtherRecords);
    }
}

macro_rules! calls {
    ($($enter:ident, $exit:ident: $call:expr;)+) => {$(
        #[tracepoint]
        pub fn $enter(ctx: TracePointContext) -> u32 {
            enter(&ctx, $call)
        }

        #[tracepoint]
        pub fn $exit(ctx: TracePointContext) -> u32 {
            exit(&ctx)
        }
    )+};
}

calls! {
    sys_enter_fsync, sys_exit_fsync: SYNC_FSYNC;
    sys_enter_fdatasync, sys_exit_fdatasync: SYNC_FDATASYNC;
    sys_enter_sync_file_range, sys_exit_sync_file_range: SYNC_FILE_RANGE;
    sys_enter_msync, sys_exit_msync: SYNC_MSYNC;
    sys_enter_pwrite64, sys_exit_pwrite64: SYNC_WRITE;
    sys_enter_write, sys_exit_write: SYNC_WRITE;
    sys_enter_pwritev, sys_exit_pwritev: SYNC_WRITE;
    sys_enter_writev, sys_exit_writev: SYNC_WRITE;
}
