//! Records on their way to userspace, and what is counted when they find no room.

use core::mem::offset_of;

use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use pgstrobe_common::{
    cluster::{TEXT_KNOWN, TEXT_UNDER_WAY, TEXT_WANTED},
    files::StatementIo,
    lost::Lost,
    record::{BATCH_LEN, Batch, BatchHead, Finished, Header, Statement, TEXT_CUT, TEXT_FULL, Text},
    records::Record,
    state::{BACKEND_IO, BACKEND_RECLAIMED, Backend},
};

use crate::{
    clusters,
    globals::{CLASSES, RING, TextBuffer, WANTED, lost, lost_many, now},
    instructions::copy,
    reclaim,
};

/// Userspace drains on a timer; a wake-up per record would cost more than the record.
const NO_WAKEUP: u64 = aya_ebpf::bindings::BPF_RB_NO_WAKEUP as u64;

/// The header of a record of a backend.
#[inline(always)]
pub fn header<T: Record>(b: &Backend, ts_ns: u64) -> Header {
    Header::of::<T>(b.cluster as u16, b.pid, ts_ns)
}

/// Sends a small record, which is made on the stack. `reason` is counted where there is no room for it.
#[inline(always)]
pub fn send<T: Record>(record: T, reason: Lost) {
    match RING.reserve::<T>(0) {
        Some(mut entry) => {
            entry.write(record);
            entry.submit(NO_WAKEUP);
        }
        None => lost(reason),
    }
}

/// Sends a record that is written where it is to lie, because the stack of older kernels holds no large one: `write` sets
/// every field of it but the header. `reason` is counted where there is no room, and `false` returned.
#[inline(always)]
pub fn build<T: Record>(header: Header, reason: Lost, write: impl FnOnce(&mut T)) -> bool {
    let Some(mut entry) = RING.reserve::<T>(0) else {
        lost(reason);
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: memory of the kernel, of which any bytes are a `T`. It begins with a header, as the table of records asserts.
    unsafe {
        record.cast::<Header>().write(header);
        write(&mut *record);
    }
    entry.submit(NO_WAKEUP);
    true
}

/// Takes the open statement of a backend as finished: sends it, or puts it into the backend's batch.
#[inline(always)]
pub fn statement(b: &mut Backend, end: u64, class_key: u64, flags: u32) {
    let finished = Finished {
        start_ns: b.start_ns,
        end_ns: end,
        class_key,
        sent_bytes: b.sent_bytes,
        cpu_ns: b.inside.cpu_ns,
        woken_ns: b.inside.woken_ns,
        preempted_ns: b.inside.preempted_ns,
        switches: b.inside.switches,
        flags,
    };
    b.last_key = class_key;
    if b.flags & (BACKEND_IO | BACKEND_RECLAIMED) != 0 {
        if b.flags & BACKEND_IO != 0 {
            io(b, end, class_key, flags);
        }
        if b.flags & BACKEND_RECLAIMED != 0 {
            reclaim::finished(b, end, class_key, flags);
        }
    }
    let ledger = &b.inside;
    if ledger.parts[0].count != 0
        || ledger.throttles != 0
        || ledger.interrupted_ns != 0
        || b.inside_samples[0].count != 0
    {
        build(header::<Statement>(b, end), Lost::RingFull, |record: &mut Statement| {
            record.finished = finished;
            // SAFETY: values of a map and of a record, of plain numbers.
            unsafe {
                copy(&mut record.ledger, ledger);
                copy(&mut record.samples, &b.inside_samples);
            }
        });
        return;
    }
    let at = b.batch.head.len as usize;
    if let Some(free) = b.batch.statements.get_mut(at) {
        *free = finished;
    }
    // Last, and seen by the compiler as such: userspace may be reading.
    // SAFETY: a field of a reference.
    unsafe { core::ptr::write_volatile(&mut b.batch.head.len, at as u32 + 1) };
    if at + 1 >= BATCH_LEN {
        send_batch(b, BATCH_LEN as u32);
    }
}

/// Sends what a statement, or a process without a client, read and wrote.
#[inline(always)]
pub fn io(b: &mut Backend, end: u64, class_key: u64, flags: u32) {
    build(header::<StatementIo>(b, end), Lost::OtherRecords, |record: &mut StatementIo| {
        record.class_key = class_key;
        record.flags = flags;
        record._pad = 0;
        // SAFETY: values of a map and of a record, of plain numbers.
        unsafe { copy(&mut record.io, &b.io) };
    });
}

/// Sends what is in the batch of a backend.
#[inline(always)]
pub fn flush(b: &mut Backend) {
    // Never full here; the mask tells the verifier.
    let len = b.batch.head.len & (BATCH_LEN as u32 - 1);
    if len != 0 {
        send_batch(b, len);
    }
}

#[inline(always)]
fn send_batch(b: &mut Backend, len: u32) {
    b.batch.head.header = header::<BatchHead>(b, 0);
    let size = offset_of!(Batch, statements) + len as usize * size_of::<Finished>();
    if output((&raw mut b.batch).cast(), size as u64) != 0 {
        lost_many(Lost::RingFull, len as u64);
    }
    // In this order: who sees the new generation must not see the old statements.
    // SAFETY: fields of a reference.
    unsafe {
        core::ptr::write_volatile(&mut b.batch.head.len, 0);
        core::ptr::write_volatile(&mut b.batch.head.generation, b.batch.head.generation + 1);
    }
}

/// Copies `size` bytes into the ring buffer; 0 when there was room.
#[inline(always)]
fn output(from: *mut core::ffi::c_void, size: u64) -> i64 {
    // SAFETY: the verifier knows both the map and the size of what `from` points to.
    unsafe { bpf_ringbuf_output((&raw const RING).cast_mut().cast(), from, size, NO_WAKEUP) }
}

/// Sends the text of a class from `buffer`, which holds `len` bytes of it, and remembers how much of it is known.
#[inline(always)]
pub fn text(buffer: &mut TextBuffer, b: &Backend, class_key: u64, flags: u32, len: u32) {
    let cut = flags & TEXT_CUT != 0;
    // Room in the map first: without it the text would be sent again and again.
    let class = clusters::class(b, class_key);
    if CLASSES.insert(class, TEXT_UNDER_WAY, 0).is_err() {
        lost(Lost::ClassesFull);
        return;
    }
    // Bounded in a form the verifier sees: 64 KiB is the most.
    let len = len & 0xffff;
    buffer.record = Text { header: header::<Text>(b, now()), class_key, flags, len };
    let size = (size_of::<Text>() as u64) + len as u64;
    if output((&raw mut buffer.record).cast(), size) != 0 {
        lost(Lost::Text);
        let _ = CLASSES.remove(class);
        return;
    }
    let _ = CLASSES.insert(class, if cut { TEXT_WANTED } else { TEXT_KNOWN }, 0);
    if let Some(wanted) = WANTED.get_ptr_mut(0) {
        // SAFETY: an array slot. Races only make the capture start late or stop late.
        unsafe {
            if cut {
                *wanted += 1;
            } else if flags & TEXT_FULL != 0 && *wanted > 0 {
                *wanted -= 1;
            }
        }
    }
}
