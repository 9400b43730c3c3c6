//! The machine's clocks: read by witnesses; and set and set right again, and the machine put to sleep, on a machine of the
//! test's own only.

use std::time::Duration;

/// Sets the clock right when it is dropped, by the monotonic one, which nobody can set.
pub struct SetClock {
    /// `CLOCK_REALTIME` less `CLOCK_MONOTONIC` as they were.
    ahead_ns: i128,
}

impl SetClock {
    pub fn remember() -> Self {
        Self { ahead_ns: read(libc::CLOCK_REALTIME) - read(libc::CLOCK_MONOTONIC) }
    }

    /// Ahead of the right time, or behind it.
    pub fn to(&self, seconds: i64) {
        let ns = read(libc::CLOCK_MONOTONIC) + self.ahead_ns + i128::from(seconds) * NS;
        let time = libc::timespec { tv_sec: (ns / NS) as i64, tv_nsec: (ns % NS) as i64 };
        // SAFETY: a local, valid through the call.
        let done = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) };
        assert_eq!(done, 0, "clock_settime: {}", std::io::Error::last_os_error());
    }

    /// The right time, since the Unix epoch.
    pub fn right(&self) -> Duration {
        Duration::from_nanos((read(libc::CLOCK_MONOTONIC) + self.ahead_ns) as u64)
    }
}

/// Puts the machine to sleep until its clock wakes it (ACPI's S3); for how long the monotonic clock stood still.
pub fn suspend(time: Duration) -> Duration {
    const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
    let asleep = || read(libc::CLOCK_BOOTTIME) - read(libc::CLOCK_MONOTONIC);
    let before = asleep();
    std::fs::write(ALARM, "0").expect(ALARM);
    std::fs::write(ALARM, format!("+{}", time.as_secs())).expect(ALARM);
    std::fs::write("/sys/power/state", "mem").expect("/sys/power/state");
    Duration::from_nanos((asleep() - before) as u64)
}

const NS: i128 = 1_000_000_000;

impl Drop for SetClock {
    fn drop(&mut self) {
        self.to(0);
    }
}

/// `CLOCK_MONOTONIC`, which eBPF programs read too, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC) as u64
}

/// By how many nanoseconds `CLOCK_REALTIME`, which servers and packets are stamped by, is ahead of `CLOCK_MONOTONIC`. The two
/// run at one rate: this changes when somebody sets the clock, and only then.
pub fn realtime_ahead_ns() -> i128 {
    let look = |_| {
        let (before, time, after) =
            (read(libc::CLOCK_MONOTONIC), read(libc::CLOCK_REALTIME), read(libc::CLOCK_MONOTONIC));
        (after - before, time - (before + after) / 2)
    };
    // The look that was disturbed least.
    (0..5).map(look).min().map_or(0, |(_, ahead)| ahead)
}

fn read(clock: libc::clockid_t) -> i128 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a local, valid through the call.
    unsafe { libc::clock_gettime(clock, &mut time) };
    i128::from(time.tv_sec) * NS + i128::from(time.tv_nsec)
}
