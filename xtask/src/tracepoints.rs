//! Keeps the kernel from taking tracepoints down between two profiles. Whoever closes the last event of a tracepoint waits
//! until no task can be in it, some 25 ms, one tracepoint after the other: a second for each profile, of which the tests make
//! hundreds. An event that is open and switched off, as of another tool, leaves nothing to take down.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Kept while this lives.
pub struct Kept {
    _events: Vec<OwnedFd>,
}

/// An event for each tracepoint that `pgstrobe probes` names and this kernel has.
pub fn keep(pgstrobe: &Path) -> Result<Kept> {
    let output = Command::new(pgstrobe).arg("probes").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", pgstrobe.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    let names: BTreeSet<&str> = words.filter_map(|word| word.strip_prefix("tracepoint/")).collect();
    ensure!(!names.is_empty(), "{} names no tracepoint", pgstrobe.display());
    let tracefs = tracefs().context("tracefs")?;
    let events = names.iter().filter_map(|name| id(&tracefs, name)).map(event);
    Ok(Kept { _events: events.collect::<Result<_>>()? })
}

/// tracefs, mounted nowhere.
pub fn tracefs() -> std::io::Result<OwnedFd> {
    // include/uapi/linux/mount.h.
    const FSOPEN_CLOEXEC: i32 = 1;
    const FSMOUNT_CLOEXEC: i32 = 1;
    const FSCONFIG_CMD_CREATE: i32 = 6;
    let checked = |result: libc::c_long| match result {
        0.. => Ok(result as i32),
        _ => Err(std::io::Error::last_os_error()),
    };
    let none: *const libc::c_char = std::ptr::null();
    // SAFETY: plain system calls with constant strings; the descriptors are new and ours.
    unsafe {
        let context =
            OwnedFd::from_raw_fd(checked(libc::syscall(libc::SYS_fsopen, c"tracefs".as_ptr(), FSOPEN_CLOEXEC))?);
        checked(libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0))?;
        Ok(OwnedFd::from_raw_fd(checked(libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0))?))
    }
}

/// The number of a tracepoint, as `syscalls/sys_exit_read`; none where this kernel has no such.
fn id(tracefs: &OwnedFd, name: &str) -> Option<u64> {
    let path = std::ffi::CString::new(format!("events/{name}/id")).ok()?;
    // SAFETY: the path lives through the call; the descriptor is new and ours.
    let mut file = unsafe {
        let fd = libc::openat(tracefs.as_raw_fd(), path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        (fd >= 0).then(|| File::from_raw_fd(fd))?
    };
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// An event of a tracepoint that is switched off.
fn event(id: u64) -> Result<OwnedFd> {
    /// `struct perf_event_attr` (include/uapi/linux/perf_event.h, `PERF_ATTR_SIZE_VER0`).
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        kind: u32,
        size: u32,
        config: u64,
        sample_period: u64,
        sample_type: u64,
        read_format: u64,
        flags: u64,
        rest: [u64; 2],
    }
    const PERF_TYPE_TRACEPOINT: u32 = 2;
    /// The first bit of the flags.
    const DISABLED: u64 = 1;
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    let size = size_of::<Attr>() as u32;
    let attr = Attr { kind: PERF_TYPE_TRACEPOINT, size, config: id, flags: DISABLED, ..Attr::default() };
    // SAFETY: the attribute lives through the call; the descriptor is new and ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
        ensure!(fd >= 0, "perf_event_open: {}", std::io::Error::last_os_error());
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}
