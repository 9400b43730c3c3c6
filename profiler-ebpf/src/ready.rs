//! The end of a backend's start-up, and who it says it is.

use aya_ebpf::maps::ring_buf::RingBufEntry;
use pgstrobe_common::{
    record::{Header, KIND_READY, NAME_LEN, Ready, TITLE_LEN},
    state::{BACKEND_STARTING, Backend, LOST_RING_FULL},
};

use crate::{
    globals::{RING, lost, now, setting},
    instructions,
    kernel::Current,
    ledger, postgres,
};

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
    let entry = RING.reserve::<Ready>(0);
    if let Some(mut entry) = entry {
        announce(task, b, &mut entry, startup_ns);
        entry.submit(aya_ebpf::bindings::BPF_RB_NO_WAKEUP as u64);
    } else {
        lost(LOST_RING_FULL);
    }
    // SAFETY: a field of a map's value, of plain numbers.
    unsafe { instructions::clear(&mut b.outside) };
}

/// Writes who a backend is that became ready.
#[inline(always)]
fn announce(task: Current, b: &mut Backend, entry: &mut RingBufEntry<Ready>, startup_ns: u64) {
    // SAFETY: every field is written below; a name that cannot be read is empty.
    unsafe {
        let ready = &mut *entry.as_mut_ptr();
        ready.header = Header { kind: KIND_READY, pid: b.pid, ts_ns: b.sent_ns };
        ready.forked_ns = b.forked_ns;
        ready.backend_type = postgres::backend_type();
        ready._pad = 0;
        ready.startup_ns = startup_ns;
        instructions::copy(&raw mut ready.startup, &b.outside);
        let title: &mut [u8; TITLE_LEN] = &mut ready.title;
        postgres::string(task.title().unwrap_or(0), title);
        let port = match postgres::symbols() {
            Some(symbols) if symbols.my_proc_port != 0 => postgres::read(symbols.my_proc_port).unwrap_or(0),
            _ => 0,
        };
        let names: &mut [u8; NAME_LEN] = &mut ready.database_name;
        postgres::string_field(port, setting!(pg.port_database_name), names);
        postgres::string_field(port, setting!(pg.port_user_name), &mut ready.user_name);
        let status = postgres::status(b);
        postgres::string_field(status, setting!(pg.status_appname), &mut ready.application_name);
    }
}
