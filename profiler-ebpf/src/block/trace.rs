//! Requests one by one, only on request: each is sent as it is complete.
//!
//! Then nothing is added up: rows are made for each process, and in a trace that runs for days there would soon be no room
//! for more.

use aya_ebpf::{helpers::bpf_get_current_comm, macros::map, maps::LruHashMap};
use pgstrobe_common::{
    block::{BlockKey, OWNER, OWNER_PROCESS, OWNER_THREAD, RequestSlot, cluster_of},
    cluster::NO_CLUSTER,
    lost::Lost,
    record::Header,
    trace::{TRACE_ALL, TRACE_NONE, TRACED_NAMES, Traced},
};

use crate::{emit, globals::setting, kernel::block::Request};

/// By process or thread of the kernel. The loader makes it small where nothing is traced.
#[map]
static TRACED_PROCESSES: LruHashMap<u32, [u8; 16]> = LruHashMap::with_max_entries(TRACED_NAMES, 0);

/// Whether requests are sent one by one.
#[inline(always)]
pub fn on() -> bool {
    setting!(trace) != TRACE_NONE
}

#[inline(always)]
fn has_name(key: &BlockKey) -> bool {
    matches!(key.owner & OWNER, OWNER_PROCESS | OWNER_THREAD)
}

/// A request begins; its owner is current.
#[inline(always)]
pub fn begins(slot: &mut RequestSlot) {
    slot.parts = 0;
    if has_name(&slot.key) {
        let comm = bpf_get_current_comm().unwrap_or_default();
        let _ = TRACED_PROCESSES.insert(slot.key.pid, comm, 0);
    }
}

/// A part of a request is complete.
#[inline(always)]
pub fn part(slot: &mut RequestSlot, bytes: u32) {
    slot.parts += bytes;
}

/// The rest of a request is complete, and so the whole.
#[inline(always)]
pub fn whole(slot: &RequestSlot, request: Request, error: i32, bytes: u32, now: u64) {
    let comm = match has_name(&slot.key) {
        // SAFETY: copied at once; where another process comes in between, it is that one's name.
        true => unsafe { TRACED_PROCESSES.get(slot.key.pid) }.copied().unwrap_or_default(),
        false => [0; 16],
    };
    let began = if slot.inserted_ns != 0 { slot.inserted_ns } else { slot.issued_ns };
    if wanted(&slot.key, began, now) {
        let times = [slot.inserted_ns, slot.issued_ns];
        send(&slot.key, comm, times, request, slot.parts, (error, bytes), now);
    }
}

/// A request is complete whose beginning was not seen. `made`: when it was made, 0 when unknown; that it was then `served` is
/// known of a flush that somebody asked for.
#[inline(always)]
pub fn unseen(key: &BlockKey, comm: [u8; 16], made: (u64, bool), request: Request, end: (i32, u32), now: u64) {
    let (made, served) = made;
    if wanted(key, made, now) {
        send(key, comm, [0, if served { made } else { 0 }], request, 0, end, now);
    }
}

#[inline(always)]
fn wanted(key: &BlockKey, began: u64, now: u64) -> bool {
    if setting!(trace) != TRACE_ALL && cluster_of(key.owner) == NO_CLUSTER {
        return false;
    }
    let device = setting!(trace_device);
    if device != 0 && key.device != device {
        return false;
    }
    let least = setting!(trace_min_us) as u64 * 1000;
    least == 0 || began != 0 && now - began >= least
}

#[inline(always)]
fn send(
    key: &BlockKey,
    comm: [u8; 16],
    times: [u64; 2],
    request: Request,
    parts: u32,
    (error, bytes): (i32, u32),
    now: u64,
) {
    let header = Header::of::<Traced>(cluster_of(key.owner), key.pid, now);
    emit::build(header, Lost::Traced, |record: &mut Traced| {
        record.inserted_ns = times[0];
        record.issued_ns = times[1];
        // What is complete already lies before.
        record.sector = request.sector() - (parts >> 9) as u64;
        record.key = *key;
        record.flags = request.flags();
        record.error = error;
        record.bytes = parts + bytes;
        record._pad = 0;
        record.comm = comm;
    });
}
