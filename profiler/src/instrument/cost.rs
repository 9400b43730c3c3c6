//! What the profile costs: time inside the eBPF programs, and pgstrobe's own.
//!
//! The kernel can time every program, but doing so costs as much as some of them. So it does that in short windows only;
//! the hits of the whole run, which the programs count themselves, times the cost per hit of the windows is the cost.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use aya::sys::{Stats, enable_stats};
use serde::{Deserialize, Serialize};

/// Accumulated statistics of one program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramCost {
    pub hits: u64,
    pub run_ns: u64,
}

/// The switch of the kernel's statistics; off again when dropped.
pub(super) struct Timing(#[expect(dead_code, reason = "held")] OwnedFd);

impl Timing {
    /// None where the kernel has no such switch (before 5.8) or refuses.
    pub(super) fn start() -> Option<Self> {
        enable_stats(Stats::RunTime).ok().map(Self)
    }
}

/// How often the kernel left out a program because it was interrupted in the middle of another run on the same CPU, and
/// the task that came in between met the same hook. That cannot happen where programs run with preemption off; newer
/// kernels run them with preemption on. 0 where the kernel does not count it.
pub fn skipped_runs(program: BorrowedFd<'_>) -> u64 {
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    /// `recursion_misses` in `struct bpf_prog_info`, in words of 64 bits (include/uapi/linux/bpf.h).
    const RECURSION_MISSES: usize = 26;
    let mut info = [0u64; RECURSION_MISSES + 1];
    /// The part of `union bpf_attr` that the command uses.
    #[repr(C)]
    struct Attr {
        fd: u32,
        len: u32,
        info: u64,
    }
    let attr = Attr { fd: program.as_raw_fd() as u32, len: size_of_val(&info) as u32, info: info.as_mut_ptr() as u64 };
    // SAFETY: the kernel writes no more than the length given; both live through the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, size_of::<Attr>()) };
    if done == 0 { info[RECURSION_MISSES] } else { 0 }
}

/// CPU time of this process, user and system, in nanoseconds.
pub fn own_cpu_ns() -> u64 {
    // SAFETY: a plain struct filled by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    ns(usage.ru_utime) + ns(usage.ru_stime)
}

/// Resident memory of this process now, in bytes.
pub fn own_rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    // SAFETY: a plain query.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

/// Kernel memory of the maps this process holds, in bytes: `memlock` of their descriptors, each map once (`bpf_map_show_fdinfo`,
/// kernel/bpf/syscall.c). From 5.11 on it counts for the memory cgroup of whoever made them.
pub fn map_bytes() -> u64 {
    let open = std::fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
    let maps = open.filter_map(|fd| map_of(&std::fs::read_to_string(fd.path()).ok()?));
    maps.collect::<std::collections::BTreeMap<u64, u64>>().into_values().sum()
}

/// Number and memory of a map, if the descriptor is one of a map.
fn map_of(fdinfo: &str) -> Option<(u64, u64)> {
    let value = |name: &str| {
        let mut lines = fdinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| *known == name).and_then(|(_, value)| value.trim().parse().ok())
    };
    Some((value("map_id")?, value("memlock")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_maps_tell_their_memory() {
        let map = "pos:\t0\nflags:\t02000002\nmap_type:\t2\nkey_size:\t4\nmemlock:\t4096\nmap_id:\t7\nfrozen:\t0\n";
        assert_eq!(map_of(map), Some((7, 4096)));
        assert_eq!(map_of("pos:\t0\nprog_type:\t5\nmemlock:\t8192\nprog_id:\t9\n"), None);
        assert_eq!(map_of("pos:\t0\nflags:\t02\n"), None);
    }
}
