//! Pauses of writers: the tracepoint says why ([`announce`]), the ledger how long ([`ended`]).

use aya_ebpf::{macros::map, maps::HashMap};
use pgstrobe_common::{
    context,
    lost::Lost,
    record::Pause,
    state::{BACKEND_OPEN, Backend},
    writeback::DirtyLimits,
};

use crate::{
    emit,
    globals::{lost, now},
    instructions,
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
    let sent = emit::build(emit::header::<Pause>(b, b.off_ns), Lost::OtherRecords, |pause: &mut Pause| {
        pause.start_ns = if b.flags & BACKEND_OPEN != 0 { b.start_ns } else { 0 };
        pause.paused_ns = paused_ns;
        // SAFETY: values of a map and of a record, of plain numbers; only this backend's own programs change its entry.
        unsafe {
            match PAUSES.get_ptr(b.pid) {
                Some(known) => instructions::copy(&mut pause.limits, known),
                None => instructions::clear(&mut pause.limits),
            }
        }
    });
    if !sent {
        return;
    }
    let _ = PAUSES.remove(b.pid);
}
