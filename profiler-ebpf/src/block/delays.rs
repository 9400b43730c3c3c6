//! What delays add up to: those of a server's own requests in their row, those of others by whose requests they were and by who
//! waited.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use pgstrobe_common::{
    block::{BlockKey, DELAY_ROWS, DelayKey, Delays, OWNER_FOLDED, cluster_of, owner},
    lost::Lost,
};

use super::rows::{NOEXIST, count};
use crate::{globals::lost, instructions::add};

#[map]
static DELAYS: HashMap<DelayKey, Delays> = HashMap::with_max_entries(DELAY_ROWS, 0);

/// None yet, too large for the stack; never written.
#[map]
static NEW_DELAYS: PerCpuArray<Delays> = PerCpuArray::with_max_entries(1, 0);

/// Not copied into every place: most completions delay nobody, and the others one.
#[inline(never)]
pub fn add_to(delays: &mut Delays, ns: u64) {
    add(&mut delays.count, 1);
    add(&mut delays.ns, ns);
    count(&mut delays.hist, ns);
    if ns > delays.max_ns {
        delays.max_ns = ns;
    }
}

/// What [`delay`] is to enter: too much for arguments. Only one program enters delays, and it does not interrupt itself.
#[map]
static DELAY: PerCpuArray<DelayKey> = PerCpuArray::with_max_entries(1, 0);

/// A request of that key kept another server waiting.
#[inline(always)]
pub fn of_others(key: &BlockKey, victim: u32, ns: u64) {
    if let Some(place) = DELAY.get_ptr_mut(0) {
        // SAFETY: this CPU's; see the map.
        unsafe { *place = DelayKey { by: BlockKey { op: 0, ..*key }, victim, _pad: 0 } };
        delay(ns);
    }
}

/// A global function: the verifier looks at it once, not once for every waiter.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn delay(ns: u64) -> u32 {
    // SAFETY: the caller has just filled it, and it is this CPU's.
    let Some(key) = DELAY.get_ptr_mut(0).map(|key| unsafe { &mut *key }) else { return 0 };
    let mut found = find(key);
    if found.is_none() {
        // No room: those of one device and server are one. There is a place for them if there ever was one.
        key.by = BlockKey { cgroup: 0, pid: 0, owner: owner(OWNER_FOLDED, cluster_of(key.by.owner)), ..key.by };
        found = find(key);
    }
    match found {
        Some(delays) => add_to(delays, ns),
        None => lost(Lost::BlockRequests),
    }
    0
}

/// Its delays, made where there are none yet; none where there is no room.
#[inline(always)]
fn find(key: &DelayKey) -> Option<&'static mut Delays> {
    let known = || {
        // SAFETY: all is added atomically.
        DELAYS.get_ptr_mut(key).map(|delays| unsafe { &mut *delays })
    };
    if let Some(delays) = known() {
        return Some(delays);
    }
    let fresh = NEW_DELAYS.get(0)?;
    // Not over one that another CPU made meanwhile.
    let _ = DELAYS.insert(key, fresh, NOEXIST);
    known()
}
