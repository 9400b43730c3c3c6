//! Typed readers of a backend's own memory. The backend is always the current task.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{
    bpf_probe_read_user,
    generated::{self, bpf_probe_read_user_str},
};
use pgstrobe_common::{
    cluster::Cluster,
    fields::{ABSENT, PgSymbols},
    lost::Lost,
    record::{CHECKPOINT_WORDS, WAL_USAGE_LEN},
    state::{BACKEND_STARTING, Backend},
};

use crate::{
    clusters,
    globals::{lost, setting},
};

/// Reads user memory; a failure is counted.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    match unsafe { bpf_probe_read_user(address as *const T) } {
        Ok(value) => Some(value),
        Err(_) => {
            lost(Lost::ReadFailed);
            None
        }
    }
}

/// Reads user memory into `to`, where a failure is no loss; whether it could be read. What is large is read this way: a value
/// that is returned is copied, byte by byte.
#[inline(always)]
pub fn fill<T: Copy>(to: &mut MaybeUninit<T>, address: u64) -> bool {
    // SAFETY: the helper checks the address, and writes no more than the size given.
    unsafe {
        generated::bpf_probe_read_user(to.as_mut_ptr().cast(), const { size_of::<T>() as u32 }, address as *const _)
            == 0
    }
}

/// Reads user memory at an address that may be unknown (0).
#[inline(always)]
fn read_at<T: Copy>(address: u64) -> Option<T> {
    if address == 0 { None } else { read(address) }
}

/// Where the variables of a backend's server are.
#[inline(always)]
fn symbols(b: &Backend) -> Option<&'static PgSymbols> {
    clusters::of(b).map(|cluster| &cluster.symbols)
}

/// The text in work: 0 between statements; `None` when it cannot be known.
#[inline(always)]
pub fn query_in_work(b: &Backend) -> Option<u64> {
    read_at(symbols(b)?.debug_query_string)
}

/// `true` while the client is being authenticated, and when that cannot be known.
#[inline(always)]
pub fn authenticating(b: &Backend) -> bool {
    match symbols(b) {
        Some(symbols) => read_at::<u8>(symbols.client_auth_in_progress).is_none_or(|value| value != 0),
        None => true,
    }
}

/// `true` when the process is on its way out.
#[inline(always)]
pub fn exiting(b: &Backend) -> bool {
    symbols(b).and_then(|symbols| read_at::<u8>(symbols.proc_exit_inprogress)).is_some_and(|value| value != 0)
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
pub fn wal_usage(b: &Backend) -> Option<[u8; WAL_USAGE_LEN]> {
    touched(symbols(b)?.wal_usage)
}

/// `CheckpointStats` of a process that has begun a checkpoint.
#[inline(always)]
pub fn checkpoint(b: &Backend) -> Option<[u64; CHECKPOINT_WORDS]> {
    touched(symbols(b)?.checkpoint_stats).filter(|words: &[u64; CHECKPOINT_WORDS]| words[0] != 0)
}

/// `MyBackendType`, or `u32::MAX`.
#[inline(always)]
pub fn backend_type(b: &Backend) -> u32 {
    symbols(b).and_then(|symbols| read_at(symbols.my_backend_type)).unwrap_or(u32::MAX)
}

/// Whether a type of backend of this server serves a client. Unknown ones, and those of a server whose numbers are unknown,
/// are none.
#[inline(always)]
pub fn is_client(cluster: &Cluster, backend_type: u32) -> bool {
    backend_type == cluster.backend_type_client || backend_type == cluster.backend_type_walsender
}

/// `false` when the process is of a type that serves no client, such as the walreceiver.
#[inline(always)]
pub fn serves_clients(b: &Backend) -> bool {
    let Some(cluster) = clusters::of(b) else { return true };
    let own = read_at(cluster.symbols.my_backend_type).unwrap_or(u32::MAX);
    own == u32::MAX || cluster.backend_type_client == u32::MAX || is_client(cluster, own)
}

/// `MyBEEntry`, kept in the backend's state once it is past start-up.
#[inline(always)]
pub fn status(b: &mut Backend, symbols: &PgSymbols) -> u64 {
    if b.status == 0 {
        let status = read_at(symbols.my_be_entry).unwrap_or(0);
        if b.flags & BACKEND_STARTING != 0 {
            return status;
        }
        b.status = status;
    }
    b.status
}

/// Finds what each statement is asked for in the backend's entry of `PgBackendStatus`. Once in its life, and so not copied into
/// every program that ends statements.
#[inline(never)]
fn find_entry(b: &mut Backend) {
    let Some(cluster) = clusters::of(b) else { return };
    let status = status(b, &cluster.symbols);
    if status == 0 {
        return;
    }
    let (activity, query_id) = (cluster.fields.status_activity, cluster.fields.status_query_id);
    if query_id != ABSENT {
        b.query_id = status + query_id as u64;
    }
    if activity != ABSENT {
        b.activity = read(status + activity as u64).unwrap_or(0);
    }
}

/// Address of the activity string, 0 while unknown.
#[inline(always)]
pub fn activity(b: &mut Backend) -> u64 {
    if b.activity == 0 {
        find_entry(b);
    }
    b.activity
}

/// The query id of its last statement, 0 when there is none.
#[inline(always)]
pub fn query_id(b: &mut Backend) -> u64 {
    activity(b);
    read_at(b.query_id).unwrap_or(0)
}

/// Whether the backend says that it is idle, with no transaction open; also when that cannot be known.
#[inline(always)]
pub fn idle(b: &mut Backend) -> bool {
    let Some(cluster) = clusters::of(b) else { return true };
    let status = status(b, &cluster.symbols);
    if status == 0 || cluster.fields.status_state == ABSENT {
        return true;
    }
    // `STATE_IDLE` comes right before `STATE_RUNNING` (src/include/utils/backend_status.h, pgstat.h before 14).
    read(status + cluster.fields.status_state as u64)
        .is_none_or(|state: u32| state == cluster.state_running.wrapping_sub(1))
}

/// What the backend says it waits for; 0 is nothing, and also what cannot be read.
#[inline(always)]
pub fn wait_event(b: &mut Backend) -> u32 {
    if setting!(wait_events) == 0 {
        return 0;
    }
    let mut address = b.wait_event;
    if address == 0 {
        let Some(Cluster { symbols, fields, .. }) = clusters::of(b) else { return 0 };
        if symbols.my_wait_event_info != 0 {
            address = read_at(symbols.my_wait_event_info).unwrap_or(0);
        } else if fields.proc_wait_event != ABSENT {
            let proc: u64 = read_at(symbols.my_proc).unwrap_or(0);
            if proc != 0 {
                address = proc + fields.proc_wait_event as u64;
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
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(b.wait_event as *const u32) }.ok()
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
        lost(Lost::ReadFailed);
        into[0] = 0;
        return 0;
    }
    (n as usize - 1).min(N - 1)
}

/// Copies the string a pointer field of a struct points to.
#[inline(always)]
fn string_field<const N: usize>(base: u64, offset: u32, into: &mut [u8; N]) {
    let address = if offset == ABSENT || base == 0 { 0 } else { read(base + offset as u64).unwrap_or(0) };
    string(address, into);
}

/// The names of a client's session: database, user, application. Empty where they cannot be read.
#[inline(always)]
pub fn names<const N: usize>(b: &mut Backend, [database, user, application]: [&mut [u8; N]; 3]) {
    let Some(Cluster { symbols, fields, .. }) = clusters::of(b) else {
        return (database[0], user[0], application[0]) = (0, 0, 0);
    };
    let port = read_at(symbols.my_proc_port).unwrap_or(0);
    string_field(port, fields.port_database_name, database);
    string_field(port, fields.port_user_name, user);
    let status = status(b, symbols);
    string_field(status, fields.status_appname, application);
}
