//! Entries and returns of system calls. Each has one program, which hands the call to every topic that reads along: a second
//! program on the same tracepoint would cost another hit, for every process of the host. Whoever needs more of a call joins
//! its program here.

use aya_ebpf::{EbpfContext, macros::tracepoint, programs::TracePointContext};
use pgstrobe_common::{
    hits::Hit,
    record::{SYNC_FDATASYNC, SYNC_FILE_RANGE, SYNC_FSYNC, SYNC_MSYNC, SYNC_WRITE},
    state::{Backend, TEXT_OF_SEND},
};

use super::process;
use crate::{
    checkpoint,
    files::{self, ALLOCATE, At, PREFETCH, READ, TRUNCATE, WRITE},
    globals::{enter, now},
    kernel::Current,
    statement, sync, targets,
};

/// `O_DSYNC`, which `O_SYNC` includes (include/uapi/asm-generic/fcntl.h).
const O_DSYNC: u32 = 0o10000;
const O_APPEND: u32 = 0o2000;
/// include/uapi/linux/fadvise.h.
const POSIX_FADV_WILLNEED: u64 = 3;
/// Allocate room without making the file longer (include/uapi/linux/falloc.h).
const FALLOC_FL_KEEP_SIZE: u64 = 1;
/// `STDERR_FILENO`: where the server's log lines leave each process, by `write` (src/backend/utils/error/elog.c).
const STDERR: u32 = 2;

/// An argument of a system call, or with `n` 0 its result (their `format` files).
#[inline(always)]
fn argument(ctx: &TracePointContext, n: usize) -> u64 {
    // SAFETY: within the context of a system-call tracepoint that has so many arguments.
    unsafe { *ctx.as_ptr().cast::<u8>().add(16 + 8 * n).cast::<u64>() }
}

/// One program a line, and what it does.
macro_rules! calls {
    ($($program:ident => $does:ident($($with:expr),*);)+) => {$(
        #[tracepoint]
        pub fn $program(ctx: TracePointContext) -> u32 {
            $does(&ctx, $($with),*)
        }
    )+};
}

calls! {
    sys_enter_pread64 => begins(READ, Offset::Argument(3));
    sys_exit_pread64 => ends(READ);
    sys_enter_preadv => begins(READ, Offset::Argument(3));
    sys_exit_preadv => ends(READ);
    sys_enter_read => begins(READ, Offset::Position);
    sys_exit_read => ends(READ);
    sys_enter_pwrite64 => begins_to_write(Offset::Argument(3));
    sys_exit_pwrite64 => has_written();
    sys_enter_pwritev => begins_to_write(Offset::Argument(3));
    sys_exit_pwritev => has_written();
    sys_enter_write => begins_to_log_or_write();
    sys_exit_write => has_written();
    sys_enter_writev => begins_to_write(Offset::Position);
    sys_exit_writev => has_written();
    sys_enter_ftruncate => begins(TRUNCATE, Offset::Argument(1));
    sys_exit_ftruncate => ends(TRUNCATE);
    sys_enter_truncate => begins_to_cut_by_path();
    sys_exit_truncate => has_cut_by_path();
    sys_enter_fallocate => begins_to_allocate();
    sys_exit_fallocate => ends(ALLOCATE);
    sys_enter_fadvise64 => begins_to_advise();
    sys_exit_fadvise64 => ends(PREFETCH);
    sys_enter_fsync => begins_to_sync(SYNC_FSYNC);
    sys_exit_fsync => has_synced();
    sys_enter_fdatasync => begins_to_sync(SYNC_FDATASYNC);
    sys_exit_fdatasync => has_synced();
    sys_enter_sync_file_range => begins_to_sync(SYNC_FILE_RANGE);
    sys_exit_sync_file_range => has_synced();
    sys_enter_msync => begins_to_sync(SYNC_MSYNC);
    sys_exit_msync => has_synced();
    sys_enter_recvfrom => begins_on_socket();
    sys_exit_recvfrom => has_received();
    sys_enter_sendto => begins_on_socket();
    sys_exit_sendto => has_sent();
    sys_enter_exit_group => ends_process();
}

/// Where a call begins in its file.
#[derive(Clone, Copy)]
enum Offset {
    /// This argument says so.
    Argument(usize),
    /// Where the call before ended.
    Position,
}

impl Offset {
    /// As the topic of files wants it, for a file opened with these flags.
    #[inline(always)]
    fn at(self, ctx: &TracePointContext, flags: u32) -> At {
        match self {
            Self::Argument(n) => At::Offset(argument(ctx, n)),
            Self::Position if flags & O_APPEND != 0 => At::End,
            Self::Position => At::Position,
        }
    }
}

/// A call on a file that makes nothing durable: of those without an offset, all read.
#[inline(always)]
fn begins(ctx: &TracePointContext, call: u32, offset: Offset) -> u32 {
    enter!(Hit::File);
    let task = Current::get();
    let Some(b) = targets::of(task) else { return 0 };
    files::forget_call(b);
    if let Some(file) = task.file(argument(ctx, 0) as u32) {
        let len = if call == ALLOCATE { argument(ctx, 3) } else { 0 };
        files::begins(b, file, call, offset.at(ctx, 0), len);
    }
    0
}

#[inline(always)]
fn ends(ctx: &TracePointContext, call: u32) -> u32 {
    enter!(Hit::File);
    let Some(b) = targets::current() else { return 0 };
    if b.file_call.began_ns != 0 {
        files::ends(b, call, argument(ctx, 0) as i64, now());
    }
    0
}

/// `(int fd, int mode, loff_t offset, loff_t len)`: of the modes, 0 makes the file longer.
#[inline(always)]
fn begins_to_allocate(ctx: &TracePointContext) -> u32 {
    if argument(ctx, 1) & FALLOC_FL_KEEP_SIZE != 0 { 0 } else { begins(ctx, ALLOCATE, Offset::Argument(2)) }
}

/// `(int fd, loff_t offset, size_t len, int advice)`.
#[inline(always)]
fn begins_to_advise(ctx: &TracePointContext) -> u32 {
    if argument(ctx, 3) != POSIX_FADV_WILLNEED { 0 } else { begins(ctx, PREFETCH, Offset::Argument(1)) }
}

/// `write`, which is also how log lines leave: with log_checkpoints, that of a checkpoint comes right after its end.
#[inline(always)]
fn begins_to_log_or_write(ctx: &TracePointContext) -> u32 {
    enter!(Hit::Write);
    let task = Current::get();
    let Some(b) = targets::of(task) else { return 0 };
    if argument(ctx, 0) as u32 == STDERR {
        checkpoint::look(b);
    }
    write(ctx, task, b, Offset::Position);
    0
}

#[inline(always)]
fn begins_to_write(ctx: &TracePointContext, offset: Offset) -> u32 {
    enter!(Hit::Write);
    let task = Current::get();
    if let Some(b) = targets::of(task) {
        write(ctx, task, b, offset);
    }
    0
}

/// A backend begins to write, which may make the data durable too.
#[inline(always)]
fn write(ctx: &TracePointContext, task: Current, b: &mut Backend, offset: Offset) {
    files::forget_call(b);
    let Some(file) = task.file(argument(ctx, 0) as u32) else { return };
    let flags = file.flags();
    files::begins(b, file, WRITE, offset.at(ctx, flags), 0);
    if flags & O_DSYNC != 0 {
        sync::begins(b, SYNC_WRITE, Some(file));
    }
}

#[inline(always)]
fn has_written(ctx: &TracePointContext) -> u32 {
    enter!(Hit::Write);
    let Some(b) = targets::current() else { return 0 };
    let (counts, syncs) = (b.file_call.began_ns != 0, b.sync_ns != 0);
    if counts || syncs {
        let (ret, now) = (argument(ctx, 0) as i64, now());
        if counts {
            files::ends(b, WRITE, ret, now);
        }
        if syncs {
            sync::ends(b, ret as i32, now);
        }
    }
    0
}

/// `(const char *path, long length)`.
#[inline(always)]
fn begins_to_cut_by_path(ctx: &TracePointContext) -> u32 {
    enter!(Hit::File);
    if let Some(b) = targets::current() {
        files::begins_to_cut(b, argument(ctx, 0));
    }
    0
}

#[inline(always)]
fn has_cut_by_path(ctx: &TracePointContext) -> u32 {
    enter!(Hit::File);
    if let Some(b) = targets::current() {
        files::has_cut(b, argument(ctx, 0) as i32);
    }
    0
}

#[inline(always)]
fn begins_to_sync(ctx: &TracePointContext, call: u32) -> u32 {
    enter!(Hit::Sync);
    let task = Current::get();
    if let Some(b) = targets::of(task) {
        // `msync` has an address as its first argument.
        let file = if call == SYNC_MSYNC { None } else { task.file(argument(ctx, 0) as u32) };
        sync::begins(b, call, file);
    }
    0
}

#[inline(always)]
fn has_synced(ctx: &TracePointContext) -> u32 {
    enter!(Hit::Sync);
    if let Some(b) = targets::current()
        && b.sync_ns != 0
    {
        sync::ends(b, argument(ctx, 0) as i32, now());
    }
    0
}

/// A receive or a send, where these are the boundary of statements: the last resort, on every kernel with tracefs. Postgres
/// talks to its client through `recv` and `send`, which are `recvfrom` and `sendto` to the kernel. The socket is told by its
/// descriptor.
#[inline(always)]
fn begins_on_socket(ctx: &TracePointContext) -> u32 {
    if let Some(b) = targets::current() {
        b.call_fd = argument(ctx, 0) as u32;
        b.call_buf = argument(ctx, 1);
        b.call_len = argument(ctx, 2);
    }
    0
}

#[inline(always)]
fn has_received(ctx: &TracePointContext) -> u32 {
    enter!(Hit::Receive);
    let task = Current::get();
    if let Some(b) = targets::of(task)
        && b.call_len != 0
    {
        let buffer = Some((b.call_buf, b.call_len));
        statement::received(task, b, b.call_fd as u64 + 1, argument(ctx, 0) as i64, || buffer);
    }
    0
}

#[inline(always)]
fn has_sent(ctx: &TracePointContext) -> u32 {
    enter!(Hit::Send);
    let task = Current::get();
    let ret = argument(ctx, 0) as i64;
    if let Some(b) = targets::of(task) {
        statement::sends(b);
        if ret > 0 && b.call_len != 0 {
            let complete = ret as u64 == b.call_len;
            statement::sent(task, b, b.call_fd as u64 + 1, ret as u32, b.call_buf, complete, TEXT_OF_SEND);
        }
    }
    0
}

#[inline(always)]
fn ends_process(_ctx: &TracePointContext) -> u32 {
    enter!(Hit::Exit);
    let task = Current::get();
    if let Some(b) = targets::of(task) {
        process::ends(task, b);
    }
    0
}
