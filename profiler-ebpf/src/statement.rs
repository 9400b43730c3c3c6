//! Where a statement begins and ends.
//!
//! It begins with data on the client's socket (or, with the uprobe boundary, at the entry of a named function) and ends
//! with the last byte of its answer. The backend's own memory says that the answer is the last: `debug_query_string` is
//! NULL again when ReadyForQuery, or the answer to a Flush, leaves. COPY FROM STDIN answers first and then waits for the
//! client, but its text is still set, so that wait stays inside.

use core::mem::MaybeUninit;

use pgstrobe_common::{
    cluster::{TEXT_UNDER_WAY, TEXT_WANTED},
    faults::Faults,
    record::{
        STATEMENT_BATCH, STATEMENT_CUT, STATEMENT_ERROR, STATEMENT_PIPELINED, STATEMENT_QUERY_ID, TEXT_CUT, TEXT_FULL,
        TEXT_QUERY_ID,
    },
    shape,
    state::{
        BACKEND_ASKED, BACKEND_ASKING, BACKEND_BATCH, BACKEND_CUT, BACKEND_EXECUTED, BACKEND_IN_TRANSACTION,
        BACKEND_IO, BACKEND_MAYBE_DONE, BACKEND_OPEN, BACKEND_PIPELINED, BACKEND_RECLAIMED, BACKEND_SIMPLE,
        BACKEND_STARTING, BOUNDARY_UPROBE, Backend, TEXT_OF_ENTRY, TEXT_OF_SAMPLER, TEXT_OF_SEND,
    },
};

use crate::{
    clusters, emit, faults,
    globals::{CLASSES, TEXTS, WANTED, now, setting, text_buffer},
    instructions::{below, clear},
    kernel::Current,
    ledger, postgres, ready, reclaim,
};

/// Postgres sends in buffers of this size (`PQ_SEND_BUFFER_SIZE`, src/backend/libpq/pqcomm.c); a shorter send ends what it
/// had to say.
const SEND_BUFFER: u32 = 8192;

/// Bytes of a ReadyForQuery message: type, length, transaction status (protocol 3.0).
const READY_LEN: u32 = 6;

/// The close_notify with which TLS says good-bye is no longer than this, under any cipher.
const FAREWELL_LEN: u32 = 40;

const OPEN_FLAGS: u32 = BACKEND_OPEN
    | BACKEND_CUT
    | BACKEND_MAYBE_DONE
    | BACKEND_BATCH
    | BACKEND_EXECUTED
    | BACKEND_SIMPLE
    | BACKEND_PIPELINED;

/// Data on the client's socket, or an attempt to get some (`ret <= 0`).
#[inline(always)]
pub fn received(task: Current, b: &mut Backend, sock: u64, ret: i64, buffer: impl FnOnce() -> Option<(u64, u64)>) {
    if b.sock != 0 && b.sock != sock {
        return;
    }
    if b.flags & BACKEND_MAYBE_DONE != 0 {
        ledger::settle_current(b, task);
        finish(b, task.faults(), b.sent_ns, b.class_key, b.class_flags);
    }
    if b.flags & BACKEND_OPEN != 0 {
        if b.flags & BACKEND_CUT == 0 || postgres::query_in_work(b) != Some(0) {
            return;
        }
        // Taken for a running statement when the profile began, but it had just ended.
        forget(b, b.start_ns);
    }
    if b.flags & BACKEND_STARTING != 0 {
        b.sock = sock;
        // A process of another type has a connection of its own to another server.
        if b.sent_ns == 0 || postgres::authenticating(b) || !postgres::serves_clients(b) {
            return;
        }
        ready::ready(task, b);
    }
    if ret <= 0 {
        b.flags |= BACKEND_ASKED | BACKEND_ASKING;
        return;
    }
    if setting!(boundary) == BOUNDARY_UPROBE {
        b.sock = sock;
        return;
    }
    if b.sock == 0 {
        // Found running: only a backend between statements reads its next message here.
        if postgres::query_in_work(b) != Some(0) {
            return;
        }
        b.sock = sock;
    }
    ledger::settle_current(b, task);
    faults::begin(b, task.faults());
    // The message arrived when it woke the backend, which then may have waited for a CPU.
    let arrived = b.woken_ns;
    if b.flags & BACKEND_ASKED != 0 && arrived > b.end_ns {
        open(b, arrived);
        ledger::adopt_wait(b);
    } else {
        open(b, now());
    }
    if let Some((address, _)) = buffer()
        && executions(address, ret as u64) > 1
    {
        b.flags |= BACKEND_BATCH;
    }
}

/// The backend tries to send: what it sleeps for next is no longer sure to be the next message, as it may be room to send.
#[inline(always)]
pub fn sends(b: &mut Backend) {
    b.flags &= !BACKEND_ASKING;
}

/// Bytes on their way to the client. `complete` is whether the call sent all it was given; `text` is the buffer for texts.
#[inline(always)]
pub fn sent(task: Current, b: &mut Backend, sock: u64, len: u32, buffer: u64, complete: bool, text: u32) {
    if b.sock != sock {
        // Of one found at work the socket is not known: its answer is over with the send after which no text is set.
        const FOUND: u32 = BACKEND_OPEN | BACKEND_CUT;
        if b.sock != 0 || b.flags & FOUND != FOUND || postgres::query_in_work(b) != Some(0) {
            return;
        }
        b.sock = sock;
    }
    let now = now();
    b.sent_before = b.sent_len;
    b.sent_len = len;
    b.sent_buf = buffer;
    b.sent_ns = now;
    if b.flags & BACKEND_STARTING != 0 {
        // Where the client sent a statement together with its start-up packet, it is not asked for one.
        if complete
            && ready_status(buffer, len).is_some()
            && !postgres::authenticating(b)
            && postgres::serves_clients(b)
        {
            ready::ready(task, b);
        }
        return;
    }
    if b.flags & BACKEND_OPEN == 0 {
        // After an ask for the next message this is a notification or a farewell. A lone ReadyForQuery ends an answer
        // that was already counted (an error outside a statement, a Flush followed by Sync).
        if b.flags & BACKEND_ASKED != 0 || len == READY_LEN || setting!(boundary) == BOUNDARY_UPROBE {
            return;
        }
        open(b, b.end_ns);
        b.sent_len = len;
        b.flags |= BACKEND_PIPELINED;
    }
    b.sent_bytes += len as u64;
    if !complete {
        return;
    }
    let ready = ready_status(buffer, len);
    // The middle of a long answer is sent in full buffers, and may end in anything; a notice, which is flushed by itself,
    // ends in zeros.
    if (ready.is_none() || len >= SEND_BUFFER) && postgres::query_in_work(b) != Some(0) {
        return;
    }
    if len <= FAREWELL_LEN && postgres::exiting(b) {
        return;
    }
    transaction(b, ready);
    let (class_key, flags) = describe(b, text);
    if len >= SEND_BUFFER && ready.is_none() {
        // A full buffer: the rest may follow. The next send or receive decides.
        b.flags |= BACKEND_MAYBE_DONE;
        b.class_key = class_key;
        b.class_flags = flags;
        return;
    }
    ledger::settle_current(b, task);
    finish(b, task.faults(), now, class_key, flags);
}

/// With the uprobe boundary: a function of the message loop was entered.
#[inline(always)]
pub fn entered(task: Current, b: &mut Backend, entry: Entry) {
    if b.flags & BACKEND_STARTING != 0 {
        return;
    }
    let now = now();
    if b.flags & BACKEND_OPEN != 0 {
        let another = match entry {
            Entry::Simple => true,
            Entry::Parse | Entry::Bind => b.flags & BACKEND_EXECUTED != 0,
            Entry::Execute => false,
        };
        if another && b.flags & BACKEND_SIMPLE == 0 {
            let (class_key, flags) = describe(b, TEXT_OF_ENTRY);
            ledger::settle_current(b, task);
            finish(b, task.faults(), now, class_key, flags);
        }
    }
    if b.flags & BACKEND_OPEN == 0 {
        ledger::settle_current(b, task);
        faults::begin(b, task.faults());
        open(b, now);
    }
    match entry {
        Entry::Simple => b.flags |= BACKEND_SIMPLE,
        Entry::Execute => b.flags |= BACKEND_EXECUTED,
        Entry::Parse | Entry::Bind => {}
    }
}

/// The message of the frontend a named function serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Simple,
    Parse,
    Bind,
    Execute,
}

#[inline(always)]
fn open(b: &mut Backend, start: u64) {
    ledger::close(b, start);
    idle_until(b, start);
    b.flags = (b.flags & !(OPEN_FLAGS | BACKEND_ASKED | BACKEND_ASKING)) | BACKEND_OPEN;
    b.start_ns = start;
    b.sent_len = 0;
    b.sent_before = 0;
    // SAFETY: a field of a map's value.
    unsafe { clear(&mut b.sent_bytes) };
}

/// The pause of an open transaction ends: the next statement begins, or the backend is ended.
#[inline(always)]
pub fn idle_until(b: &mut Backend, end: u64) {
    if b.flags & BACKEND_IN_TRANSACTION != 0 && end > b.end_ns {
        let ns = end - b.end_ns;
        b.transaction_idle_ns += ns;
        b.idle.count += 1;
        b.idle.total_ns += ns;
        if ns > b.idle.max_ns {
            b.idle.max_ns = ns;
        }
    }
}

/// What is to be known of the open statement at its end: its class and its `STATEMENT_` flags.
#[inline(always)]
fn describe(b: &mut Backend, text: u32) -> (u64, u32) {
    let mut flags = 0;
    if b.flags & BACKEND_CUT != 0 {
        flags |= STATEMENT_CUT;
    }
    if b.flags & BACKEND_BATCH != 0 {
        flags |= STATEMENT_BATCH;
    }
    if b.flags & BACKEND_PIPELINED != 0 {
        flags |= STATEMENT_PIPELINED;
    }
    if failed(b) {
        flags |= STATEMENT_ERROR;
    }
    let class_key = class(b, &mut flags, text);
    (class_key, flags)
}

/// Sends the record of the open statement and forgets it. `faults` are those of the task so far.
#[inline(always)]
pub fn finish(b: &mut Backend, faults: Faults, end: u64, class_key: u64, flags: u32) {
    ledger::close(b, end);
    faults::end(b, faults, end, class_key, flags);
    emit::statement(b, end, class_key, flags);
    b.inside_ns += end.saturating_sub(b.start_ns);
    b.statements += 1;
    forget(b, end);
}

/// Leaves the open statement without a record.
#[inline(always)]
pub fn forget(b: &mut Backend, end: u64) {
    b.end_ns = end;
    b.flags &= !OPEN_FLAGS;
    if b.flags & BACKEND_IN_TRANSACTION == 0 {
        b.transaction_idle_ns = 0;
    }
    // Only what was used is written again; most statements never sleep.
    let ledger = &mut b.inside;
    // SAFETY: fields of a map's value, all of plain numbers.
    unsafe {
        if ledger.switches != 0 || ledger.throttles != 0 {
            clear(ledger);
            b.last_slot = 0;
        } else {
            clear(&mut ledger.cpu_ns);
            clear(&mut ledger.woken_ns);
            clear(&mut ledger.preempted_ns);
        }
        if b.inside_samples[0].count != 0 {
            clear(&mut b.inside_samples);
        }
        if b.flags & BACKEND_IO != 0 {
            clear(&mut b.io);
        }
    }
    if b.flags & (BACKEND_IO | BACKEND_RECLAIMED) != 0 {
        if b.flags & BACKEND_RECLAIMED != 0 {
            reclaim::give_back(b);
        }
        b.flags &= !(BACKEND_IO | BACKEND_RECLAIMED);
    }
}

/// The key of the class the backend's last statement belongs to; sends its text when that is new.
#[inline(always)]
pub fn class(b: &mut Backend, flags: &mut u32, text: u32) -> u64 {
    let id = postgres::query_id(b);
    if id != 0 && known(b, id) {
        *flags |= STATEMENT_QUERY_ID;
        return id;
    }
    let address = postgres::activity(b);
    let Some((slot, buffer)) = text_buffer(text, b.pid) else { return id };
    let len = postgres::string(address, &mut buffer.bytes) as u32;
    let mut text_flags = 0;
    let key = if id != 0 {
        *flags |= STATEMENT_QUERY_ID;
        text_flags |= TEXT_QUERY_ID;
        id
    } else {
        if len == 0 {
            return 0;
        }
        // The hot one takes the way without calls.
        let key = if text == TEXT_OF_SEND { shape_of(slot) } else { shape_by_calls(slot) };
        if !buffer.intact(b.pid) {
            return 0;
        }
        if known(b, key) {
            return key;
        }
        key
    };
    // A multi-byte character at the cut costs up to three bytes.
    if clusters::of(b).is_some_and(|cluster| len + 4 >= cluster.activity_size) {
        text_flags |= TEXT_CUT;
    }
    emit::text(buffer, b, key, text_flags, len);
    key
}

/// Whether userspace has the text of a class. Most backends repeat themselves.
#[inline(always)]
fn known(b: &mut Backend, key: u64) -> bool {
    if b.known_key == key {
        return true;
    }
    // SAFETY: the map is read only.
    let known = unsafe { CLASSES.get(clusters::class(b, key)) }.is_some_and(|state| *state != TEXT_UNDER_WAY);
    if known {
        b.known_key = key;
    }
    known
}

/// A global function: the verifier looks at it once, not once for every way that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn shape_of(slot: u32) -> u64 {
    // SAFETY: the caller has just filled the buffer, and it is of this CPU.
    let Some(buffer) = TEXTS.get_ptr_mut(slot).map(|buffer| unsafe { &mut *buffer }) else { return 0 };
    // The record before the text is written when it is sent.
    let state = &mut buffer.record.class_key;
    // SAFETY: a text buffer is larger than what the shape looks at, and its alignment is that of its record.
    shape::shape(unsafe { &*buffer.bytes.as_ptr().cast::<[u64; shape::WORDS]>() }, state)
}

/// As [`shape_of`], slower, and a tenth of the verifier's work.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn shape_by_calls(slot: u32) -> u64 {
    // SAFETY: as in `shape_of`.
    let Some(buffer) = TEXTS.get_ptr_mut(slot).map(|buffer| unsafe { &mut *buffer }) else { return 0 };
    // SAFETY: as in `shape_of`.
    let text = unsafe { &*buffer.bytes.as_ptr().cast::<[u64; shape::WORDS]>() };
    shape::shape_by_calls(text, |word, both| shape_word(word, both))
}

/// One word of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn shape_word(word: u64, both: u64) -> u64 {
    shape::word(word, both)
}

/// Takes the whole text of the statement in work, if its class is one of which only a cut text is known.
#[inline(always)]
pub fn capture(b: &mut Backend) {
    if b.flags & BACKEND_OPEN == 0 || WANTED.get(0).is_none_or(|wanted| *wanted == 0) {
        return;
    }
    let Some((slot, buffer)) = text_buffer(TEXT_OF_SAMPLER, b.pid) else { return };
    let id = postgres::query_id(b);
    let mut flags = TEXT_FULL;
    let key = if id != 0 {
        flags |= TEXT_QUERY_ID;
        id
    } else {
        let address = postgres::activity(b);
        let len = postgres::string(address, &mut buffer.bytes);
        if len == 0 {
            return;
        }
        shape_by_calls(slot)
    };
    // SAFETY: the map is read only.
    if unsafe { CLASSES.get(clusters::class(b, key)) }.copied() != Some(TEXT_WANTED) {
        return;
    }
    let address = postgres::query_in_work(b).unwrap_or(0);
    let len = postgres::string(address, &mut buffer.bytes) as u32;
    if len != 0 {
        emit::text(buffer, b, key, flags, len);
    }
}

/// Whether the answer ended in an ErrorResponse. The server flushes an error by itself, so the ReadyForQuery that follows
/// is alone in its buffer, and the send before it ended in the two zero bytes that end an ErrorResponse.
#[inline(always)]
fn failed(b: &Backend) -> bool {
    const TLS_RECORD: [u32; 4] = [21, 22, 29, 37];
    if b.sent_before < 20 || b.sent_len > READY_LEN + 37 {
        return false;
    }
    if b.sent_len == READY_LEN {
        let tail: u16 = match b.sent_buf {
            0 => 0,
            address => postgres::read(address + b.sent_before as u64 - 2).unwrap_or(1),
        };
        return tail == 0;
    }
    // Encrypted: a record of a lone ReadyForQuery has one of a few lengths (TLS 1.2 CHACHA20, 1.3, 1.2 GCM, 1.2 CBC).
    b.sent_len.wrapping_sub(READY_LEN) == TLS_RECORD[0]
        || b.sent_len.wrapping_sub(READY_LEN) == TLS_RECORD[1]
        || b.sent_len.wrapping_sub(READY_LEN) == TLS_RECORD[2]
        || b.sent_len.wrapping_sub(READY_LEN) == TLS_RECORD[3]
}

/// The transaction status of the ReadyForQuery message a buffer ends in: `Z`, a length of 5, the status. None where it ends
/// in something else, or is encrypted.
#[inline(always)]
fn ready_status(buffer: u64, len: u32) -> Option<u8> {
    if buffer == 0 || len < READY_LEN {
        return None;
    }
    let tail = postgres::read::<[u8; 6]>(buffer + (len - READY_LEN) as u64)?;
    let ready = tail[0] == b'Z' && tail[1] == 0 && tail[2] == 0 && tail[3] == 0 && tail[4] == 5;
    let status = tail[5];
    if ready && (status == b'I' || status == b'T' || status == b'E') { Some(status) } else { None }
}

/// Notes whether a transaction is open after an answer: by the status in it, else by what the backend says of itself.
#[inline(always)]
fn transaction(b: &mut Backend, status: Option<u8>) {
    let idle = match status {
        Some(status) => status == b'I',
        None => postgres::idle(b),
    };
    if idle {
        b.flags &= !BACKEND_IN_TRANSACTION;
    } else {
        b.flags |= BACKEND_IN_TRANSACTION;
    }
}

/// Execute messages in a received buffer, as far as it is plain text and begins with a message; 0 for a simple query. Global
/// as [`shape_of`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn executions(address: u64, len: u64) -> u32 {
    /// Messages looked at: a pipeline of more is a batch anyway.
    const MESSAGES: u32 = 12;
    /// Type and length of a message.
    const HEAD: u64 = 5;
    /// The beginning of the server's buffer, read at once: Bind, Describe, Execute and Sync of a short statement fit.
    const CHUNK: usize = 64;
    /// For the verifier, who sees where a head begins and not that it ends within the chunk.
    const BEYOND: usize = 8;
    // It may be longer than the message, up to a page that is not there: then each head is read by itself.
    let mut chunk = MaybeUninit::<[u8; CHUNK + BEYOND]>::uninit();
    let known = postgres::fill(&mut chunk, address);
    let mut at = 0u64;
    let mut n = 0;
    for _ in 0..MESSAGES {
        if at + HEAD > len {
            break;
        }
        let head = if known && at + HEAD <= CHUNK as u64 {
            let within = below::<{ CHUNK as i32 }>(at as u32);
            // SAFETY: within the chunk, as the condition says, which was filled.
            Some(unsafe { chunk.as_ptr().cast::<u8>().add(within).cast::<[u8; HEAD as usize]>().read() })
        } else {
            postgres::read(address + at)
        };
        let Some(head) = head else { break };
        match head[0] {
            b'E' => n += 1,
            b'P' | b'B' | b'D' | b'S' | b'H' | b'C' => {}
            _ => break,
        }
        let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        if !(4..1 << 20).contains(&size) {
            break;
        }
        at += 1 + size as u64;
    }
    n
}
