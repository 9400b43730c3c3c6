//! Where a request under way is kept: in one of a few slots beside each other, found by its number.
//!
//! An array is looked up in a tenth of the time of a hash map. Two CPUs may, within nanoseconds, take the same free slot for
//! two requests: one of them then has no beginning, and is shown so.

use aya_ebpf::{macros::map, maps::Array};
use pgstrobe_common::{
    block::{REQUEST_SLOTS, REQUEST_WAYS, RequestSlot},
    lost::Lost,
};

use crate::globals::lost;

#[map]
static REQUESTS: Array<RequestSlot> = Array::with_max_entries(REQUEST_SLOTS, 0);

/// 2⁶⁴ divided by the golden ratio: spreads numbers that lie at equal distances.
pub const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
fn slot(request: u64, way: u32) -> Option<&'static mut RequestSlot> {
    let first = (request.wrapping_mul(SPREAD) >> 32) as u32;
    // SAFETY: events of one request follow each other.
    REQUESTS.get_ptr_mut((first ^ way) & (REQUEST_SLOTS - 1)).map(|slot| unsafe { &mut *slot })
}

#[inline(always)]
pub fn find(request: u64) -> Option<&'static mut RequestSlot> {
    for way in 0..REQUEST_WAYS {
        let slot = slot(request, way)?;
        if slot.request == request {
            return Some(slot);
        }
    }
    None
}

/// Its slot, or a free one; where there is none, that is counted.
#[inline(always)]
pub fn take(request: u64) -> Option<&'static mut RequestSlot> {
    if let Some(slot) = find(request) {
        return Some(slot);
    }
    for way in 0..REQUEST_WAYS {
        let slot = slot(request, way)?;
        if slot.request == 0 {
            return Some(slot);
        }
    }
    lost(Lost::BlockRequests);
    None
}
