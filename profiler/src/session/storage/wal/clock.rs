//! The server's clock against that of the records: one look at both.

use crate::kernel::features::monotonic_ns;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    real_ns: u64,
    monotonic_ns: u64,
    boot_ns: u64,
}

/// Ticks of /proc/PID/stat a second (`USER_HZ`).
const TICKS: u64 = 100;

impl Clock {
    pub fn now() -> Self {
        Self { real_ns: read(libc::CLOCK_REALTIME), monotonic_ns: monotonic_ns(), boot_ns: read(libc::CLOCK_BOOTTIME) }
    }

    /// Microseconds since the Unix epoch.
    pub fn real_us(&self) -> u64 {
        self.real_ns / 1_000
    }

    /// A time of the server by the clock of the records.
    pub fn monotonic_ns(&self, real_us: u64) -> u64 {
        (real_us * 1_000 + self.monotonic_ns).saturating_sub(self.real_ns)
    }

    /// When a process started, in microseconds since the Unix epoch; within 10 ms.
    pub fn process_start_us(&self, pid: u32) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The 22nd field; the second, in parentheses, may hold spaces.
        let ticks: u64 = stat.rsplit(") ").next()?.split(' ').nth(19)?.parse().ok()?;
        let since_boot_ns = ticks * (1_000_000_000 / TICKS);
        Some((self.real_ns - self.boot_ns.checked_sub(since_boot_ns)?.min(self.real_ns)) / 1_000)
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer to a local.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree() {
        let clock = Clock::now();
        let later = clock.monotonic_ns(clock.real_us() + 5_000_000);
        assert!((later - monotonic_ns()).abs_diff(5_000_000_000) < 1_000_000_000);
        let started = clock.process_start_us(std::process::id()).unwrap();
        assert!(started <= clock.real_us() + 20_000 && started > clock.real_us() - 600_000_000, "{started}");
    }
}
