//! Who asked for a flush.
//!
//! A write without data that asks for a flush is never inserted or issued: the kernel makes a flush of its own, once for all
//! that asked meanwhile, and completes theirs when that is done. So the asker is taken down when the request is made for its
//! bio, and a flush of a device that a server has asked to flush is taken as that server's.

use aya_ebpf::{helpers::bpf_get_current_comm, macros::map, maps::Array};
use pgstrobe_common::{
    block::{FLUSH_SLOTS, FlushSlot, OWNER_KWORKER, WANTED_SLOTS, WantedFlushes, cluster_of, owner as owner_of},
    cluster::NO_CLUSTER,
};

use super::{
    owner::{self, Owner},
    slots::SPREAD,
};
use crate::{instructions::add, kernel::block::Bio};

/// By the number of the bio.
#[map]
static FLUSHES: Array<FlushSlot> = Array::with_max_entries(FLUSH_SLOTS, 0);

/// By device.
#[map]
static WANTED_FLUSHES: Array<WantedFlushes> = Array::with_max_entries(WANTED_SLOTS, 0);

/// `REQ_PREFLUSH` (include/linux/blk_types.h).
const PREFLUSH: u32 = 1 << 18;

/// −1.
const LESS: u64 = u64::MAX;

#[inline(always)]
fn slot(bio: Bio) -> Option<&'static mut FlushSlot> {
    let slot = (bio.number().wrapping_mul(SPREAD) >> 32) as u32 & (FLUSH_SLOTS - 1);
    // SAFETY: who comes second takes it over.
    FLUSHES.get_ptr_mut(slot).map(|slot| unsafe { &mut *slot })
}

#[inline(always)]
fn wanted(device: u64) -> Option<&'static mut WantedFlushes> {
    let slot = (device.wrapping_mul(SPREAD) >> 32) as u32 & (WANTED_SLOTS - 1);
    // SAFETY: the number is added to atomically.
    WANTED_FLUSHES.get_ptr_mut(slot).map(|slot| unsafe { &mut *slot })
}

/// One flush less that a server waits for.
#[inline(always)]
fn done(slot: &mut FlushSlot) {
    slot.bio = 0;
    if cluster_of(slot.owner) != NO_CLUSTER
        && let Some(wanted) = wanted(slot.device)
        && wanted.device == slot.device
    {
        add(&mut wanted.waiting, LESS);
    }
}

/// A request is made for this bio.
#[inline(always)]
pub fn asks_for_flush(bio: Bio) {
    if bio.flags() & PREFLUSH == 0 || bio.bytes() != 0 {
        return;
    }
    let Some(slot) = slot(bio) else { return };
    if slot.bio != 0 {
        done(slot);
    }
    let owner = owner::of(bio);
    slot.cgroup = owner.cgroup;
    slot.pid = owner.pid;
    slot.owner = owner.owner;
    slot.device = bio.device() as u64;
    slot.comm = bpf_get_current_comm().unwrap_or_default();
    slot.bio = bio.number();
    let cluster = cluster_of(owner.owner);
    if cluster != NO_CLUSTER
        && let Some(wanted) = wanted(slot.device)
    {
        if wanted.waiting as i64 <= 0 {
            wanted.waiting = 0;
            wanted.device = slot.device;
        }
        if wanted.device == slot.device {
            wanted.cluster = cluster as u64;
            add(&mut wanted.waiting, 1);
        }
    }
}

/// Who asked for the flush that this bio waited for, if that was seen.
#[inline(always)]
pub fn asked(bio: Bio) -> Option<(Owner, [u8; 16])> {
    let slot = slot(bio)?;
    if slot.bio != bio.number() {
        return None;
    }
    let owner = Owner { cgroup: slot.cgroup, pid: slot.pid, owner: slot.owner };
    let comm = slot.comm;
    done(slot);
    Some((owner, comm))
}

/// Whose a flush is that the kernel makes.
#[inline(always)]
pub fn owner(device: u32) -> Owner {
    let device = device as u64;
    let cluster = match wanted(device) {
        Some(wanted) if wanted.device == device && wanted.waiting as i64 > 0 => wanted.cluster as u16,
        _ => NO_CLUSTER,
    };
    Owner { cgroup: 0, pid: 0, owner: owner_of(OWNER_KWORKER, cluster) }
}
