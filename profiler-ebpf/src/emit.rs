//! Records on their way to userspace, and what is counted when they find no room.

use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use pgstrobe_common::{
    record::{Header, KIND_STATEMENT, KIND_TEXT, STATEMENT_SHORT, Statement, TEXT_CUT, TEXT_FULL, Text},
    state::{Backend, LOST_CLASSES_FULL, LOST_RING_FULL, LOST_TEXT},
};

use crate::globals::{CLASSES, RING, TEXT_KNOWN, TEXT_WANTED, TextBuffer, WANTED, lost, now};

/// Userspace drains on a timer; a wake-up per record would cost more than the record.
const NO_WAKEUP: u64 = aya_ebpf::bindings::BPF_RB_NO_WAKEUP as u64;

/// Sends one plain record.
#[inline(always)]
pub fn record<T: 'static>(value: T) {
    match RING.reserve::<T>(0) {
        Some(mut entry) => {
            entry.write(value);
            entry.submit(NO_WAKEUP);
        }
        None => lost(LOST_RING_FULL),
    }
}

/// Sends the open statement of a backend as finished at `end`.
#[inline(always)]
pub fn statement(pid: u32, b: &Backend, end: u64, class_key: u64, flags: u32) {
    let header = Header { kind: KIND_STATEMENT, pid, ts_ns: end };
    let whole = b.inside.parts[0].count != 0;
    if whole {
        let Some(mut entry) = RING.reserve::<Statement>(0) else {
            lost(LOST_RING_FULL);
            return;
        };
        entry.write(Statement {
            header,
            start_ns: b.start_ns,
            class_key,
            flags,
            _pad: 0,
            sent_bytes: b.sent_bytes,
            ledger: b.inside,
        });
        entry.submit(NO_WAKEUP);
    } else {
        let Some(mut entry) = RING.reserve::<[u64; Statement::SHORT / 8]>(0) else {
            lost(LOST_RING_FULL);
            return;
        };
        entry.write([
            (pid as u64) << 32 | KIND_STATEMENT as u64,
            end,
            b.start_ns,
            class_key,
            (flags | STATEMENT_SHORT) as u64,
            b.sent_bytes,
            b.inside.runnable_ns,
            b.inside.other_ns,
            (b.inside.other_count as u64) << 32 | b.inside.switches as u64,
        ]);
        entry.submit(NO_WAKEUP);
    }
}

/// Sends the text of a class from `buffer`, which holds `len` bytes of it, and remembers how much of it is known.
#[inline(always)]
pub fn text(buffer: &mut TextBuffer, pid: u32, class_key: u64, flags: u32, len: u32) {
    let cut = flags & TEXT_CUT != 0;
    if CLASSES.insert(class_key, if cut { TEXT_WANTED } else { TEXT_KNOWN }, 0).is_err() {
        lost(LOST_CLASSES_FULL);
        return;
    }
    // Bounded in a form the verifier sees: 64 KiB is the most.
    let len = len & 0xffff;
    buffer.record = Text { header: Header { kind: KIND_TEXT, pid, ts_ns: now() }, class_key, flags, len };
    let size = (size_of::<Text>() as u64) + len as u64;
    // SAFETY: the buffer is as large as a header and the longest text.
    let sent =
        unsafe { bpf_ringbuf_output((&raw const RING).cast_mut().cast(), (&raw mut *buffer).cast(), size, NO_WAKEUP) };
    if sent != 0 {
        lost(LOST_TEXT);
        let _ = CLASSES.remove(class_key);
        return;
    }
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
