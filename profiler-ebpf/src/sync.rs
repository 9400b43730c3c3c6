//! Calls that make data durable: how long, by whom, on which file.
//!
//! The file's name is read in the kernel while the call is under way, so it is the name of that moment: a WAL segment is
//! recycled under a new name, and a descriptor means another file in another process.

use pgstrobe_common::{
    lost::Lost,
    record::{SYNC_MSYNC, Sync},
    state::Backend,
};

use crate::{
    checkpoint::{self, CONTROL_FILE},
    emit, files,
    globals::{lost, now},
    kernel::File,
};

/// A call of a kind (`SYNC_`) begins; `msync` has no file.
#[inline(always)]
pub fn begins(b: &mut Backend, call: u32, file: Option<File>) {
    b.sync_file = file.map_or(0, |file| file.0);
    b.sync_call = call;
    b.sync_ns = now();
}

/// The call under way returns. Not inlined: together with the account of a write's file its frame would be larger than the
/// 512 bytes of stack that Linux 5.10 allows a program and what it calls.
#[inline(never)]
pub fn ends(b: &mut Backend, ret: i32, now: u64) {
    let began = core::mem::take(&mut b.sync_ns);
    let backend_type = files::backend_type(b);
    let mut ends_checkpoint = false;
    emit::build(emit::header::<Sync>(b, now), Lost::RingFull, |sync: &mut Sync| {
        sync.duration_ns = now - began;
        sync.syscall = b.sync_call;
        sync.ret = ret;
        sync.backend_type = backend_type;
        sync.file_mode = File(b.sync_file).mode();
        // Parts that are not read begin with a zero.
        if !File(b.sync_file).path(&mut sync.path) && b.sync_call != SYNC_MSYNC {
            lost(Lost::FileName);
        }
        ends_checkpoint = sync.path[0].starts_with(CONTROL_FILE);
    });
    if ends_checkpoint {
        checkpoint::look(b);
    }
}
