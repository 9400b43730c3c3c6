//! Pauses of writers: the tracepoint says why ([`announce`]), the ledger how long ([`ended`]).

use aya_ebpf::{macros::map, maps::HashMap};
use pgstrobe_common::{
    context,
    record::{Header, KIND_PAUSE, Pause},
    state::{BACKEND_OPEN, Backend, LOST_WRITEBACK_FULL},
    writeback::DirtyLimits,
};

use crate::{
    emit,
    globals::{lost, now},
};

/// What a backend's pause under way came with, by pid.
#[map]
static PAUSES: HashMap<u32, DirtyLimits> = HashMap::with_max_entries(4096, 0);

/// The sleep that follows at once is of this kind (a bit of [`context`]).
#[inline(always)]
pub fn announce(b: &mut Backend, kind: u32) {
    b.announced = kind;
    b.dirty_ns = now();
}

/// A pause follows.
#[inline(always)]
pub fn begins(b: &mut Backend, limits: &DirtyLimits) {
    if PAUSES.insert(b.pid, limits, 0).is_err() {
        lost(LOST_WRITEBACK_FULL);
    }
    announce(b, context::DIRTY_THROTTLE);
}

/// The pause is over and its length known. Rare, and so not copied into every program that settles a ledger.
#[inline(never)]
pub fn ended(b: &Backend, paused_ns: u64) {
    // SAFETY: a copy; only this backend's own programs change the entry.
    let limits = unsafe { PAUSES.get(b.pid) }.copied().unwrap_or_default();
    let _ = PAUSES.remove(b.pid);
    emit::record(Pause {
        header: Header { kind: KIND_PAUSE, pid: b.pid, ts_ns: b.off_ns },
        start_ns: if b.flags & BACKEND_OPEN != 0 { b.start_ns } else { 0 },
        paused_ns,
        limits,
    });
}
