//! Who delays the cluster's requests in a hardware context.
//!
//! While at least one request of the cluster waits there (inserted or issued, not complete), every completion ends a stretch
//! of that wait: from the completion before it, whoever's, or from the moment the first of ours came. The stretch is the
//! delay, and it belongs to the request that is complete, as far as that was with the device by then. Stretches do not
//! overlap, so that their sum is at most the time during which the cluster waited.

use aya_ebpf::{macros::map, maps::Array};
use pgstrobe_common::{
    block::{CONTEXT_SLOTS, ContextSlot},
    lost::Lost,
};

use super::slots::SPREAD;
use crate::{globals::lost, instructions::add};

/// By number ([`crate::instructions::number_of`]); more than all devices of a large host have.
#[map]
static CONTEXTS: Array<ContextSlot> = Array::with_max_entries(CONTEXT_SLOTS, 0);

const WAYS: u32 = 4;

/// −1.
const LESS: u64 = u64::MAX;

/// What was missed may leave a number below zero, until the memory of that request is in use again.
#[inline(always)]
fn nobody(slot: &ContextSlot) -> bool {
    slot.waiting as i64 <= 0
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

/// A request of the cluster comes; `false` where it is not followed.
#[inline(always)]
pub fn wait(context: u64, now: u64) -> bool {
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
    if nobody(slot) {
        slot.since_ns = now;
    }
    add(&mut slot.waiting, 1);
    true
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

/// One of them is gone without an end of its own.
#[inline(always)]
pub fn leave(context: u64) {
    if let Some(slot) = find(context) {
        add(&mut slot.waiting, LESS);
    }
}

/// A request is complete that was issued then (0: unknown): how long it kept the cluster waiting.
#[inline(always)]
pub fn completed(context: u64, own: bool, issued: u64, now: u64) -> Option<u64> {
    let slot = find(context)?;
    if nobody(slot) {
        return None;
    }
    let from = slot.since_ns;
    slot.since_ns = now;
    if own {
        add(&mut slot.waiting, LESS);
    }
    let from = if issued > from { issued } else { from };
    Some(now.saturating_sub(from))
}
