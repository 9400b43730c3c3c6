//! Who delays a server's requests in a hardware context.
//!
//! While at least one request of a server waits there (inserted or issued, not complete), every completion ends a stretch
//! of that wait: from the completion before it, whoever's, or from the moment the first of the server's came. The stretch is
//! the delay, and it belongs to the request that is complete, as far as that was with the device by then. Stretches do not
//! overlap, so that their sum is at most the time during which the server waited. With several servers each has its own
//! stretches: to one, the others are neighbours as any process is.

use aya_ebpf::{macros::map, maps::Array};
use pgstrobe_common::{
    block::{BlockKey, BlockRow, CONTEXT_SLOTS, CONTEXT_WAITERS, ContextSlot, ContextWait, cluster_of},
    cluster::MAX_CLUSTERS,
    lost::Lost,
};

use super::{delays, slots::SPREAD};
use crate::{
    globals::lost,
    instructions::{add, below},
};

/// By number ([`crate::instructions::number_of`]); more than all devices of a large host have.
#[map]
static CONTEXTS: Array<ContextSlot> = Array::with_max_entries(CONTEXT_SLOTS, 0);

const WAYS: u32 = 4;

/// −1.
const LESS: u64 = u64::MAX;

/// What was missed may leave a number below zero, until the memory of that request is in use again.
#[inline(always)]
fn nobody(wait: &ContextWait) -> bool {
    wait.waiting as i64 <= 0
}

/// Requests of one server.
#[inline(always)]
fn of(slot: &mut ContextSlot, cluster: u32) -> &mut ContextWait {
    // SAFETY: the index is below the length.
    unsafe { slot.waits.get_unchecked_mut(below::<{ MAX_CLUSTERS as i32 }>(cluster)) }
}

#[inline(always)]
fn slot(context: u64, way: u32) -> Option<&'static mut ContextSlot> {
    let first = (context.wrapping_mul(SPREAD) >> 32) as u32;
    // SAFETY: CPUs that race for a time shift it by nanoseconds; the number of those that wait is added atomically.
    CONTEXTS.get_ptr_mut((first ^ way) & (CONTEXT_SLOTS - 1)).map(|slot| unsafe { &mut *slot })
}

#[inline(always)]
fn find(context: u64) -> Option<&'static mut ContextSlot> {
    for way in 0..WAYS {
        let slot = slot(context, way)?;
        if slot.context == context {
            return Some(slot);
        }
    }
    None
}

/// A request of a server comes; `false` where it is not followed.
#[inline(always)]
pub fn wait(context: u64, cluster: u16, now: u64) -> bool {
    if context == 0 {
        return false;
    }
    let found = match find(context) {
        Some(slot) => Some(slot),
        None => take(context),
    };
    let Some(slot) = found else {
        lost(Lost::BlockRequests);
        return false;
    };
    enter(slot, cluster as u32 + 1);
    let wait = of(slot, cluster as u32);
    if nobody(wait) {
        wait.since_ns = now;
    }
    add(&mut wait.waiting, 1);
    true
}

/// Makes sure that a server is among those that wait, if there is room: in the place of one that waits no more.
#[inline(always)]
fn enter(slot: &mut ContextSlot, waiter: u32) {
    let mut room = CONTEXT_WAITERS;
    for i in 0..CONTEXT_WAITERS {
        let known = slot.waiters[i];
        if known == waiter {
            return;
        }
        if room == CONTEXT_WAITERS && (known == 0 || nobody(of(slot, known - 1))) {
            room = i;
        }
    }
    if let Some(place) = slot.waiters.get_mut(room) {
        *place = waiter;
    }
}

#[inline(always)]
fn take(context: u64) -> Option<&'static mut ContextSlot> {
    for way in 0..WAYS {
        let slot = slot(context, way)?;
        if slot.context == 0 {
            slot.context = context;
            return Some(slot);
        }
    }
    None
}

/// A request of that server is gone without an end of its own.
#[inline(always)]
pub fn leave(context: u64, cluster: u16) {
    if let Some(slot) = find(context) {
        add(&mut of(slot, cluster as u32).waiting, LESS);
    }
}

/// A request is complete that was issued then (0: unknown): it kept all servers waiting that have requests there. `waits` is
/// the number of the server that it was counted for itself.
#[inline(always)]
pub fn completed(context: u64, row: &mut BlockRow, key: &BlockKey, waits: Option<u16>, issued: u64, now: u64) {
    const NONE: u64 = u64::MAX;
    let Some(slot) = find(context) else { return };
    // No `Option`: the verifier refuses the value of one that is none.
    let mut own = NONE;
    for i in 0..CONTEXT_WAITERS {
        let waiter = slot.waiters[i];
        if waiter == 0 {
            continue;
        }
        let victim = waiter - 1;
        let wait = of(slot, victim);
        if nobody(wait) {
            continue;
        }
        let from = wait.since_ns;
        wait.since_ns = now;
        let from = if issued > from { issued } else { from };
        let ns = now.saturating_sub(from);
        // A server is among the waiters once.
        if victim == cluster_of(key.owner) as u32 {
            own = ns;
        } else {
            delays::of_others(key, victim, ns);
        }
    }
    if own != NONE {
        delays::add_to(&mut row.own, own);
    }
    if let Some(cluster) = waits {
        add(&mut of(slot, cluster as u32).waiting, LESS);
    }
}
