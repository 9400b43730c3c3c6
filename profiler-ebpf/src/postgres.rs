//! Typed readers of a backend's own memory. The backend is always the current task.

use aya_ebpf::helpers::{bpf_probe_read_user, generated::bpf_probe_read_user_str};
use pgstrobe_common::{
    fields::{ABSENT, PgSymbols},
    record::{CHECKPOINT_WORDS, WAL_USAGE_LEN},
    state::{BACKEND_STARTING, Backend, LOST_READ_FAILED},
};

use crate::globals::{TARGET, lost, setting};

/// Reads user memory; a failure is counted.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    match unsafe { bpf_probe_read_user(address as *const T) } {
        Ok(value) => Some(value),
        Err(_) => {
            lost(LOST_READ_FAILED);
            None
        }
    }
}

/// Reads user memory where a failure is no loss.
#[inline(always)]
pub fn read_maybe<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// Reads user memory at an address that may be unknown (0).
#[inline(always)]
fn read_at<T: Copy>(address: u64) -> Option<T> {
    if address == 0 { None } else { read(address) }
}

#[inline(always)]
pub fn symbols() -> Option<&'static PgSymbols> {
    TARGET.get(0).map(|target| &target.symbols)
}

/// The text in work: 0 between statements; `None` when it cannot be known.
#[inline(always)]
pub fn query_in_work() -> Option<u64> {
    read_at(symbols()?.debug_query_string)
}

/// `true` while the client is being authenticated, and when that cannot be known.
#[inline(always)]
pub fn authenticating() -> bool {
    match symbols() {
        Some(symbols) => read_at::<u8>(symbols.client_auth_in_progress).is_none_or(|value| value != 0),
        None => true,
    }
}

/// `true` when the process is on its way out.
#[inline(always)]
pub fn exiting() -> bool {
    symbols().and_then(|symbols| read_at::<u8>(symbols.proc_exit_inprogress)).is_some_and(|value| value != 0)
}

/// A variable of this process; none also when it never touched the page, which is nothing lost.
#[inline(always)]
fn touched<T: Copy>(address: u64) -> Option<T> {
    if address == 0 {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// `pgWalUsage` of this process.
#[inline(always)]
pub fn wal_usage() -> Option<[u8; WAL_USAGE_LEN]> {
    touched(symbols()?.wal_usage)
}

/// `CheckpointStats` of a process that has begun a checkpoint.
#[inline(always)]
pub fn checkpoint() -> Option<[u64; CHECKPOINT_WORDS]> {
    touched(symbols()?.checkpoint_stats).filter(|words: &[u64; CHECKPOINT_WORDS]| words[0] != 0)
}

/// `MyBackendType`, or `u32::MAX`.
#[inline(always)]
pub fn backend_type() -> u32 {
    symbols().and_then(|symbols| read_at(symbols.my_backend_type)).unwrap_or(u32::MAX)
}

/// `false` when the process is of a type that serves no client, such as the walreceiver.
#[inline(always)]
pub fn serves_clients() -> bool {
    let (client, walsender) = (setting!(backend_type_client), setting!(backend_type_walsender));
    let own = backend_type();
    own == u32::MAX || client == u32::MAX || own == client || own == walsender
}

/// `MyBEEntry`, kept in the backend's state once it is past start-up.
#[inline(always)]
pub fn status(b: &mut Backend) -> u64 {
    if b.status == 0
        && let Some(symbols) = symbols()
    {
        let status = read_at(symbols.my_be_entry).unwrap_or(0);
        if b.flags & BACKEND_STARTING != 0 {
            return status;
        }
        b.status = status;
    }
    b.status
}

/// A 32- or 64-bit field of `PgBackendStatus`.
#[inline(always)]
pub fn status_field<T: Copy>(b: &mut Backend, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    let status = status(b);
    if status == 0 { None } else { read(status + offset as u64) }
}

/// Address of the activity string.
#[inline(always)]
pub fn activity(b: &mut Backend) -> u64 {
    if b.activity == 0 {
        b.activity = status_field(b, setting!(pg.status_activity)).unwrap_or(0);
    }
    b.activity
}

/// What the backend says it waits for; 0 is nothing, and also what cannot be read.
#[inline(always)]
pub fn wait_event(b: &mut Backend) -> u32 {
    if setting!(wait_events) == 0 {
        return 0;
    }
    let mut address = b.wait_event;
    if address == 0 {
        let Some(symbols) = symbols() else { return 0 };
        if symbols.my_wait_event_info != 0 {
            address = read_at(symbols.my_wait_event_info).unwrap_or(0);
        } else if setting!(pg.proc_wait_event) != ABSENT {
            let proc: u64 = read_at(symbols.my_proc).unwrap_or(0);
            if proc != 0 {
                address = proc + setting!(pg.proc_wait_event) as u64;
            }
        }
        if b.flags & BACKEND_STARTING == 0 {
            b.wait_event = address;
        }
    }
    read_at(address).unwrap_or(0)
}

/// As [`wait_event`], where a failure is not worth counting; none before it was first read.
#[inline(always)]
pub fn wait_event_now(b: &Backend) -> Option<u32> {
    if b.wait_event == 0 {
        return None;
    }
    read_maybe(b.wait_event)
}

/// Copies a zero-terminated string; returns its length without the zero, 0 when it cannot be read.
#[inline(always)]
pub fn string<const N: usize>(address: u64, into: &mut [u8; N]) -> usize {
    if address == 0 {
        into[0] = 0;
        return 0;
    }
    // SAFETY: the helper checks the address and writes at most N bytes.
    let n = unsafe { bpf_probe_read_user_str(into.as_mut_ptr().cast(), N as u32, address as *const _) };
    if n <= 0 {
        // The page is not there at this moment.
        lost(LOST_READ_FAILED);
        into[0] = 0;
        return 0;
    }
    (n as usize - 1).min(N - 1)
}

/// Copies the string a pointer field of a struct points to.
#[inline(always)]
pub fn string_field<const N: usize>(base: u64, offset: u32, into: &mut [u8; N]) {
    let address = if offset == ABSENT || base == 0 { 0 } else { read(base + offset as u64).unwrap_or(0) };
    string(address, into);
}
