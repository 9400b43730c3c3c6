//! The end of a backend's start-up, and who it says it is.

use pgstrobe_common::{
    lost::Lost,
    record::{NAME_LEN, Ready, TITLE_LEN},
    state::{BACKEND_STARTING, Backend},
};

use crate::{emit, globals::now, instructions, kernel::Current, ledger, postgres};

/// Start-up is over: the backend has said so, or asks for its first statement.
#[inline(always)]
pub fn ready(task: Current, b: &mut Backend) {
    b.flags &= !BACKEND_STARTING;
    b.end_ns = b.sent_ns;
    ledger::settle_current(b, task);
    // Not when it sent its last message: the CPU may have been taken from it since, and that is in its account.
    let until = now();
    ledger::close(b, until);
    let startup_ns = until - b.since_ns;
    b.since_ns = until;
    emit::build(emit::header::<Ready>(b, b.sent_ns), Lost::RingFull, |ready| announce(task, b, ready, startup_ns));
    // SAFETY: a field of a map's value, of plain numbers.
    unsafe { instructions::clear(&mut b.outside) };
}

/// Writes who a backend is that became ready.
#[inline(always)]
fn announce(task: Current, b: &mut Backend, ready: &mut Ready, startup_ns: u64) {
    ready.forked_ns = b.forked_ns;
    b.backend_type = postgres::backend_type(b);
    ready.backend_type = b.backend_type;
    ready._pad = 0;
    ready.startup_ns = startup_ns;
    // SAFETY: values of a map and of a record, of plain numbers.
    unsafe { instructions::copy(&mut ready.startup, &b.outside) };
    // A name that cannot be read is empty.
    let title: &mut [u8; TITLE_LEN] = &mut ready.title;
    postgres::string(task.title().unwrap_or(0), title);
    let names: [&mut [u8; NAME_LEN]; 3] = [&mut ready.database_name, &mut ready.user_name, &mut ready.application_name];
    postgres::names(b, names);
}
