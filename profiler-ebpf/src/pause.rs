//! Pauses of writers: the tracepoint says why ([`announce`]), the ledger how long ([`ended`]).

use aya_ebpf::{macros::map, maps::HashMap};
use pgstrobe_common::{
    context,
    lost::Lost,
    record::{KIND_PAUSE, Pause},
    state::{BACKEND_OPEN, Backend},
    writeback::DirtyLimits,
};

use crate::{
    emit::{self, NO_WAKEUP},
    globals::{RING, lost, now},
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
        lost(Lost::WritebackFull);
    }
    announce(b, context::DIRTY_THROTTLE);
}

/// The pause is over and its length known. Rare, and so not copied into every program that settles a ledger; written in
/// place, because the stack is that of the program and this function together.
#[inline(never)]
pub fn ended(b: &Backend, paused_ns: u64) {
    let Some(mut entry) = RING.reserve::<Pause>(0) else { return lost(Lost::OtherRecords) };
    // SAFETY: every field is written; only this backend's own programs change its entry in the map.
    unsafe {
        let record = entry.as_mut_ptr();
        (&raw mut (*record).header).write(emit::header(KIND_PAUSE, b, b.off_ns));
        (&raw mut (*record).start_ns).write(if b.flags & BACKEND_OPEN != 0 { b.start_ns } else { 0 });
        (&raw mut (*record).paused_ns).write(paused_ns);
        let limits = &raw mut (*record).limits;
        match PAUSES.get_ptr(b.pid) {
            Some(known) => known.copy_to_nonoverlapping(limits, 1),
            None => limits.write_bytes(0, 1),
        }
    }
    entry.submit(NO_WAKEUP);
    let _ = PAUSES.remove(b.pid);
}
