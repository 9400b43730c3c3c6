//! Requests of the block layer on their way: inserted, issued, complete. All work is done in the kernel; userspace reads
//! the rows, or gets each request by itself where that is asked for.

mod delays;
mod flush;
mod noise;
mod owner;
mod rows;
mod slots;
mod trace;

use pgstrobe_common::block::{
    BlockKey, OP_DISCARD, OP_FLUSH, OP_OTHER, OP_READ, OP_SYNC, OP_WRITE, REQUEST_AGAIN, REQUEST_ISSUED,
    REQUEST_QUEUED, REQUEST_WAITS, REQUEST_WRITTEN, RequestSlot, cluster_of,
};

use crate::{globals::now, kernel::block::Request};
use pgstrobe_common::cluster::NO_CLUSTER;

pub use flush::asks_for_flush;

/// Flags of a request that make a flush before or behind it (include/linux/blk_types.h: `REQ_FUA` and `REQ_PREFLUSH`
/// have been neighbours since they exist).
const WITH_FLUSH: u32 = 3 << 17;

/// As the kernel's statistics tell operations apart (`op_stat_group`, include/linux/blk_types.h): even numbers bring
/// something from the device, odd ones bring it there.
#[inline(always)]
fn operation(flags: u32) -> u32 {
    match flags & 0xff {
        0 => OP_READ,
        2 => OP_FLUSH,
        3 => OP_DISCARD,
        // From `REQ_OP_SCSI_IN` (32) on.
        32.. => OP_OTHER,
        other if other & 1 == 1 => OP_WRITE,
        _ => OP_OTHER,
    }
}

/// The first that is seen of a request.
#[inline(always)]
fn begin(request: Request, slot: &mut RequestSlot, now: u64) {
    let context = request.context();
    if slot.request == request.number()
        && let Some(cluster) = waits(slot)
    {
        // Its end was missed.
        noise::leave(context, cluster);
    }
    let op = operation(request.flags());
    let (bio, device) = (request.bio(), request.device());
    let owner = if op == OP_FLUSH { flush::owner(device) } else { owner::of(bio) };
    let key = BlockKey { cgroup: owner.cgroup, device, pid: owner.pid, op, owner: owner.owner };
    if trace::on() {
        slot.key = key;
    } else if slot.key != key {
        slot.key = rows::ensure(key, None);
    }
    slot.request = request.number();
    slot.inserted_ns = 0;
    slot.issued_ns = 0;
    slot.started_ns = request.started();
    slot.flags = 0;
    if trace::on() {
        return trace::begins(slot);
    }
    let cluster = cluster_of(owner.owner);
    if cluster != NO_CLUSTER && noise::wait(context, cluster, now) {
        slot.flags = REQUEST_WAITS | (cluster as u32) << 16;
    }
}

/// What stays of a request's flags whatever happens to it: that it waits, and for which server.
const KEPT: u32 = REQUEST_WAITS | (u16::MAX as u32) << 16;

/// The server for which a request counts as waiting.
#[inline(always)]
fn waits(slot: &RequestSlot) -> Option<u16> {
    if slot.flags & REQUEST_WAITS != 0 { Some((slot.flags >> 16) as u16) } else { None }
}

#[inline(always)]
pub fn inserted(request: Request) {
    let Some(slot) = slots::take(request.number()) else { return };
    let now = now();
    let again = slot.request == request.number() && slot.flags & REQUEST_AGAIN != 0;
    if !again {
        begin(request, slot, now);
    }
    if slot.inserted_ns == 0 {
        slot.inserted_ns = now;
    }
    slot.flags = slot.flags & KEPT | REQUEST_QUEUED;
}

#[inline(always)]
pub fn issued(request: Request) {
    let Some(slot) = slots::take(request.number()) else { return };
    let now = now();
    let known = slot.request == request.number() && slot.flags & (REQUEST_QUEUED | REQUEST_AGAIN) != 0;
    if !known {
        begin(request, slot, now);
    }
    slot.issued_ns = now;
    slot.flags = slot.flags & KEPT | REQUEST_ISSUED;
}

#[inline(always)]
pub fn requeued(request: Request) {
    let Some(slot) = slots::find(request.number()) else { return };
    if slot.flags & REQUEST_ISSUED == 0 {
        return;
    }
    slot.flags = slot.flags & KEPT | REQUEST_AGAIN;
    if !trace::on() {
        rows::requeued(&slot.key);
    }
}

/// It becomes a part of another one, and is never complete by itself.
#[inline(always)]
pub fn merged(request: Request) {
    let Some(slot) = slots::take(request.number()) else { return };
    if slot.request != request.number() || slot.flags & REQUEST_WRITTEN != 0 {
        // Merged on its way into the queue.
        begin(request, slot, now());
    }
    if let Some(cluster) = waits(slot) {
        noise::leave(request.context(), cluster);
    }
    slot.request = 0;
    if !trace::on() {
        rows::merged(&slot.key);
    }
}

/// The next `bytes` of a request are done.
#[inline(always)]
pub fn completed(request: Request, error: i32, bytes: u32) {
    // Loaded here, before the ways part: the verifier looks through all types of the kernel at each load of a pointer from an
    // argument, for every way that leads to it (docs/journal/0012).
    let (left, context) = (request.bytes(), request.context());
    let mut known = slots::find(request.number());
    if let Some(slot) = &mut known
        && slot.flags & REQUEST_WRITTEN != 0
    {
        slot.request = 0;
        // The second end of a write with a flush behind it; or else the memory of one that had no second end is in use
        // by a request whose beginning is never seen.
        if bytes == 0 && left == 0 && slot.started_ns == request.started() {
            return;
        }
        known = None;
    }
    let Some(slot) = known else { return unseen(request, context, error, (bytes, left)) };
    if trace::on() {
        if bytes < left {
            return trace::part(slot, bytes);
        }
        trace::whole(slot, request, error, bytes, now());
    } else {
        let Some(row) = rows::find(&slot.key) else { return };
        if bytes < left {
            return rows::part(row, bytes);
        }
        let now = now();
        noise::completed(context, row, &slot.key, waits(slot), slot.issued_ns, now);
        rows::whole(row, error, bytes);
        rows::times(row, slot, now);
    }
    if bytes != 0 && request.flags() & WITH_FLUSH != 0 {
        slot.flags = REQUEST_WRITTEN;
    } else {
        slot.request = 0;
    }
}

/// The end of a request whose beginning is not known.
#[inline(always)]
fn unseen(request: Request, context: u64, error: i32, (bytes, left): (u32, u32)) {
    let (bio, device) = (request.bio(), request.device());
    let mut op = operation(request.flags());
    if op == OP_WRITE && left == 0 {
        op = OP_SYNC;
    }
    let asked = if op == OP_SYNC { flush::asked(bio) } else { None };
    let (owner, comm) = match asked {
        Some((owner, comm)) => (owner, comm),
        None => (owner::unseen(bio), [0; 16]),
    };
    let key = BlockKey { cgroup: owner.cgroup, device, pid: owner.pid, op, owner: owner.owner };
    let started = request.started();
    if trace::on() {
        // Its parts that were complete before are not known either.
        if bytes >= left {
            trace::unseen(&key, comm, (started, op == OP_SYNC), request, (error, bytes), now());
        }
        return;
    }
    let key = rows::ensure(key, Some(comm));
    let Some(row) = rows::find(&key) else { return };
    if bytes < left {
        return rows::part(row, bytes);
    }
    let now = now();
    noise::completed(context, row, &key, None, 0, now);
    rows::whole(row, error, bytes);
    if op == OP_SYNC && started != 0 {
        rows::served(row, now - started);
    }
}
