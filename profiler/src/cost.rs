//! What the profile costs: time inside the eBPF programs, and pgstrobe's own.
//!
//! The kernel can time every program, but doing so costs as much as some of them. So it does that in short windows only;
//! the hits of the whole run, which the programs count themselves, times the cost per hit of the windows is the cost.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use aya::sys::{Stats, enable_stats};

/// Accumulated statistics of one program.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProgramCost {
    pub hits: u64,
    pub run_ns: u64,
}

/// The switch of the kernel's statistics; off again when dropped.
pub struct Timing(#[expect(dead_code, reason = "held")] OwnedFd);

impl Timing {
    /// None where the kernel has no such switch (before 5.8) or refuses.
    pub fn start() -> Option<Self> {
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
