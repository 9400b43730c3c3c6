//! Keeps the kernel from taking tracepoints down between two profiles. Whoever closes the last event of a tracepoint waits
//! until no task can be in it, some 25 ms, one tracepoint after the other: a second for each profile, of which the tests make
//! hundreds. An event that is open and switched off, as of another tool, leaves nothing to take down.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use pgstrobe_common::perf::{EventAttr, FD_CLOEXEC};

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
    let tracefs = Tracefs::open().context("tracefs")?;
    let events = names.iter().filter_map(|name| tracefs.id(name)).map(event);
    Ok(Kept { _events: events.collect::<Result<_>>()? })
}

/// tracefs, mounted nowhere.
pub struct Tracefs(OwnedFd);

impl Tracefs {
    /// # Errors
    /// Where this kernel has none, or it is not allowed.
    pub fn open() -> io::Result<Self> {
        // include/uapi/linux/mount.h.
        const FSOPEN_CLOEXEC: i32 = 1;
        const FSMOUNT_CLOEXEC: i32 = 1;
        const FSCONFIG_CMD_CREATE: i32 = 6;
        let checked = |result: libc::c_long| match result {
            0.. => Ok(result as i32),
            _ => Err(io::Error::last_os_error()),
        };
        let none: *const libc::c_char = std::ptr::null();
        // SAFETY: plain system calls with constant strings; the descriptors are new and ours.
        unsafe {
            let context =
                OwnedFd::from_raw_fd(checked(libc::syscall(libc::SYS_fsopen, c"tracefs".as_ptr(), FSOPEN_CLOEXEC))?);
            checked(libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0))?;
            let mount = libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0);
            Ok(Self(OwnedFd::from_raw_fd(checked(mount)?)))
        }
    }

    /// The way of this process to it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// The number of a tracepoint, as `syscalls/sys_exit_read`; none where this kernel has no such.
    fn id(&self, name: &str) -> Option<u64> {
        fs::read_to_string(self.path().join("events").join(name).join("id")).ok()?.trim().parse().ok()
    }
}

/// An event of a tracepoint that is switched off.
fn event(id: u64) -> Result<OwnedFd> {
    let (kind, size, flags) = (EventAttr::TRACEPOINT, EventAttr::SIZE, EventAttr::DISABLED);
    let attr = EventAttr { kind, size, config: id, flags, ..EventAttr::default() };
    // SAFETY: the attribute lives through the call; the descriptor is new and ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_perf_event_open, &attr, -1, 0, -1, FD_CLOEXEC);
        ensure!(fd >= 0, "perf_event_open: {}", std::io::Error::last_os_error());
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}
