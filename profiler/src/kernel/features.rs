//! What this kernel and this process may do. Features are probed; versions are never compared.

use std::{fs, io, path::Path};

/// `CAP_BPF`, `CAP_PERFMON`, `CAP_SYS_PTRACE` and `CAP_SYS_ADMIN` (include/uapi/linux/capability.h).
const CAPABILITIES: [(u32, &str); 4] =
    [(39, "CAP_BPF"), (38, "CAP_PERFMON"), (19, "CAP_SYS_PTRACE"), (21, "CAP_SYS_ADMIN")];

/// Facts about this host.
#[derive(Clone, Debug)]
pub struct Host {
    pub release: String,
    pub cpus: u32,
    pub virtualized: bool,
    pub btf: bool,
}

impl Host {
    pub fn look() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            release: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            virtualized: cpuinfo.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor")),
            btf: Path::new(super::btf::VMLINUX).exists(),
        }
    }
}

/// Capabilities a profile needs and this process lacks; `CAP_SYS_ADMIN` stands for the first two.
pub fn missing_capabilities() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let has = |bit: u32| effective >> bit & 1 != 0;
    let admin = has(21);
    CAPABILITIES[..3].iter().filter(|(bit, _)| !has(*bit) && (!admin || *bit == 19)).map(|(_, name)| *name).collect()
}

/// The kernel's lockdown mode, if it is one that forbids reading memory from programs.
pub fn confidentiality_lockdown() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|text| text.contains("[confidentiality]"))
}

/// Where tracefs is, if it is mounted.
pub fn tracefs() -> Option<&'static str> {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .into_iter()
        .find(|path| Path::new(path).join("events").is_dir())
}

/// Mounts tracefs where nobody else sees it: in a mount namespace of this process alone, which ends with it.
/// Must be called before any thread is started.
pub fn mount_private_tracefs() -> io::Result<()> {
    let check = |ret: i32| if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: plain system calls with constant strings.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        check(libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_SLAVE,
            std::ptr::null(),
        ))?;
        check(libc::mount(
            c"tracefs".as_ptr(),
            c"/sys/kernel/tracing".as_ptr(),
            c"tracefs".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            std::ptr::null(),
        ))
    }
}

/// `CLOCK_MONOTONIC` now, in nanoseconds: the clock of all records.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
