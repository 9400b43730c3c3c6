//! Reads, writes, extends and truncates of files: how many bytes, how long, and whether the page cache had them.
//!
//! A call is timed from its entry to its return. What it asks of a block device is told by `block_bio_queue`, which comes
//! in the context of the one who asks. Numbers are added to the file's entry in `FILES`, and to those of the open
//! statement.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use pgstrobe_common::{
    files::{FileCall, TRUNCATED_LEN, Truncated},
    hits::Hit,
    lost::Lost,
};

use crate::{
    emit,
    files::{self, ALLOCATE, PREFETCH, READ, Returned, TRUNCATE, WRITE},
    globals::{enter, now, setting},
    kernel::{Bio, Current},
    postgres, targets,
};

/// include/uapi/linux/stat.h.
const S_IFMT: u32 = 0o170000;
const S_IFREG: u32 = 0o100000;
/// include/uapi/asm-generic/fcntl.h.
const O_APPEND: u32 = 0o2000;
/// include/uapi/linux/fadvise.h.
const POSIX_FADV_WILLNEED: u64 = 3;
/// Allocate room without making the file longer (include/uapi/linux/falloc.h).
const FALLOC_FL_KEEP_SIZE: u64 = 1;
/// An argument of a system call, or with `n` 0 its result (their `format` files).
#[inline(always)]
fn argument(ctx: &TracePointContext, n: usize) -> u64 {
    // SAFETY: within the context of a system-call tracepoint that has so many arguments.
    unsafe { *ctx.as_ptr().cast::<u8>().add(16 + 8 * n).cast::<u64>() }
}

/// Where a call begins in the file.
enum At {
    /// This argument says so.
    Argument(usize),
    /// Where the call before ended.
    Position,
}

/// A call begins. `at` matters to what may make the file longer.
#[inline(always)]
fn begin(ctx: &TracePointContext, call: u32, at: At) -> u32 {
    enter!(Hit::File);
    let task = Current::get();
    let Some(b) = targets::of(task) else { return 0 };
    // The end of the call before may have been left out.
    b.file_call.began_ns = 0;
    let Some(file) = task.file(argument(ctx, 0) as u32) else { return 0 };
    let Some(inode) = file.inode() else { return 0 };
    let name = file.name_hash();
    // Mostly the same file as before.
    if (inode.0 != b.file_call.inode || name != b.file_call.name) && inode.mode() & S_IFMT != S_IFREG {
        return 0;
    }
    let mut new = FileCall { file: file.0, inode: inode.0, name, ..FileCall::default() };
    if call != READ && call != PREFETCH {
        new.size = inode.size();
        new.position = match at {
            At::Argument(n) => argument(ctx, n),
            At::Position if file.flags() & O_APPEND != 0 => new.size,
            At::Position => file.position(),
        };
    }
    if call == ALLOCATE {
        new.len = argument(ctx, 3);
    }
    new.began_ns = now();
    b.file_call = new;
    0
}

/// A call returns.
#[inline(always)]
fn end(ctx: &TracePointContext, call: u32) -> u32 {
    enter!(Hit::File);
    let Some(b) = targets::current() else { return 0 };
    let began = b.file_call.began_ns;
    if began == 0 {
        return 0;
    }
    b.file_call.began_ns = 0;
    let now = now();
    let ns = now - began;
    (b.file_call.last_began_ns, b.file_call.last_ended_ns) = (began, now);
    let who = files::backend_type(b);
    let Some(io) = files::entry(b.cluster, &b.file_call, who) else { return 0 };
    files::count(b, io, Returned { call, began, ns, ret: argument(ctx, 0) as i64 }, who);
    0
}

/// `(struct bio *bio)`, before 5.11 `(struct request_queue *q, struct bio *bio)` (include/trace/events/block.h): a block
/// request, in the context of the one who makes it.
#[btf_tracepoint(function = "block_bio_queue")]
pub fn block_bio_queue(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::File);
    let Some(b) = targets::current() else { return 0 };
    let call = &mut b.file_call;
    if call.began_ns == 0 {
        return 0;
    }
    // Volatile: of one load in each branch the compiler would make one of a computed place, which the verifier refuses.
    // SAFETY: the first argument is always there.
    let first = unsafe { ctx.as_ptr().cast::<*const u8>().read_volatile() };
    let bio = Bio::argument(if setting!(bio_second) != 0 { ctx.arg(1) } else { first });
    let Some((operation, bytes)) = bio.request() else { return 0 };
    let device = bio.device();
    if call.device == 0 {
        call.device = device;
    }
    if call.device != device {
        return 0;
    }
    match operation {
        Bio::READ => call.device_read_bytes += bytes,
        Bio::WRITE => call.device_write_bytes += bytes,
        _ => {}
    }
    0
}

macro_rules! calls {
    ($($enter:ident, $exit:ident: $call:expr, $at:expr;)+) => {$(
        #[tracepoint]
        pub fn $enter(ctx: TracePointContext) -> u32 {
            begin(&ctx, $call, $at)
        }

        #[tracepoint]
        pub fn $exit(ctx: TracePointContext) -> u32 {
            end(&ctx, $call)
        }
    )+};
}

calls! {
    file_enter_pread64, file_exit_pread64: READ, At::Argument(3);
    file_enter_preadv, file_exit_preadv: READ, At::Argument(3);
    file_enter_read, file_exit_read: READ, At::Position;
    file_enter_pwrite64, file_exit_pwrite64: WRITE, At::Argument(3);
    file_enter_pwritev, file_exit_pwritev: WRITE, At::Argument(3);
    file_enter_write, file_exit_write: WRITE, At::Position;
    file_enter_writev, file_exit_writev: WRITE, At::Position;
    file_enter_ftruncate, file_exit_ftruncate: TRUNCATE, At::Argument(1);
}

/// `(int fd, int mode, loff_t offset, loff_t len)`: of the modes, 0 makes the file longer.
#[tracepoint]
pub fn file_enter_fallocate(ctx: TracePointContext) -> u32 {
    if argument(&ctx, 1) & FALLOC_FL_KEEP_SIZE != 0 { 0 } else { begin(&ctx, ALLOCATE, At::Argument(2)) }
}

#[tracepoint]
pub fn file_exit_fallocate(ctx: TracePointContext) -> u32 {
    end(&ctx, ALLOCATE)
}

/// `(int fd, loff_t offset, size_t len, int advice)`.
#[tracepoint]
pub fn file_enter_fadvise64(ctx: TracePointContext) -> u32 {
    if argument(&ctx, 3) != POSIX_FADV_WILLNEED { 0 } else { begin(&ctx, PREFETCH, At::Argument(1)) }
}

#[tracepoint]
pub fn file_exit_fadvise64(ctx: TracePointContext) -> u32 {
    end(&ctx, PREFETCH)
}

/// `(const char *path, long length)`.
#[tracepoint]
pub fn file_enter_truncate(ctx: TracePointContext) -> u32 {
    enter!(Hit::File);
    if let Some(b) = targets::current() {
        b.file_call = FileCall { began_ns: now(), name: argument(&ctx, 0), ..FileCall::default() };
    }
    0
}

#[tracepoint]
pub fn file_exit_truncate(ctx: TracePointContext) -> u32 {
    enter!(Hit::File);
    let Some(b) = targets::current() else { return 0 };
    if core::mem::take(&mut b.file_call.began_ns) == 0 {
        return 0;
    }
    emit::build(emit::header::<Truncated>(b, now()), Lost::OtherRecords, |record: &mut Truncated| {
        record.backend_type = postgres::backend_type(b);
        record.ret = argument(&ctx, 0) as i32;
        // A path that cannot be read is empty.
        let path: &mut [u8; TRUNCATED_LEN] = &mut record.path;
        postgres::string(b.file_call.name, path);
    });
    0
}
