//! The server's clock against that of the records.
//!
//! Records and durations are by `CLOCK_MONOTONIC`, which nobody can set. The server writes some times, those of its
//! checkpoints, by `CLOCK_REALTIME`. The two run at the same rate and differ by a constant, until somebody sets the clock or
//! the machine is suspended: then another constant holds from there on, and a time of the server is one of before or after.

use crate::{kernel::features::monotonic_ns, words};

pub struct Clock {
    now: Look,
    /// Stretches with one constant each, in the order of time; the first one began before the profile.
    stretches: Vec<Stretch>,
    began_ns: u64,
    /// What was noticed since it was last told, for people.
    notes: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    real_ns: u64,
    monotonic_ns: u64,
    /// `CLOCK_BOOTTIME`: the monotonic clock and the time of suspends.
    boot_ns: u64,
}

#[derive(Clone, Copy)]
struct Stretch {
    /// By the monotonic clock, when it was noticed.
    from_ns: u64,
    /// How far the server's clock is ahead of the monotonic one.
    ahead_ns: i64,
}

/// Ticks of /proc/PID/stat a second (`USER_HZ`).
const TICKS: u64 = 100;
/// Changes below this are none: the clocks are read one after the other.
const STEP_NS: u64 = 2_000_000;
/// A step is noticed at the next look, and looks may be late.
const LATE_NS: i64 = 1_000_000_000;
/// Steps kept; the oldest are forgotten.
const MOST: usize = 64;

impl Look {
    fn now() -> Self {
        // A task may be away from the CPU between two readings: of some tries the fastest.
        let tries = (0..5).map(|_| {
            let before = monotonic_ns();
            let (real_ns, boot_ns) = (read(libc::CLOCK_REALTIME), read(libc::CLOCK_BOOTTIME));
            let took = monotonic_ns() - before;
            (took, Self { real_ns, monotonic_ns: before + took / 2, boot_ns })
        });
        let fastest = tries.min_by_key(|(took, _)| *took);
        fastest.map_or(Self { real_ns: 0, monotonic_ns: 0, boot_ns: 0 }, |(_, look)| look)
    }

    fn ahead_ns(&self) -> i64 {
        self.real_ns as i64 - self.monotonic_ns as i64
    }
}

impl Clock {
    pub fn now() -> Self {
        Self::from(Look::now())
    }

    fn from(now: Look) -> Self {
        let stretches = vec![Stretch { from_ns: 0, ahead_ns: now.ahead_ns() }];
        Self { now, stretches, began_ns: now.monotonic_ns, notes: Vec::new() }
    }

    /// Looks again. To be done before times of the server are read.
    pub fn look(&mut self) {
        self.looked(Look::now());
    }

    fn looked(&mut self, now: Look) {
        let before = std::mem::replace(&mut self.now, now);
        let Some(last) = self.stretches.last() else { return };
        let set_ns = now.ahead_ns() - last.ahead_ns;
        if set_ns.unsigned_abs() < STEP_NS {
            return;
        }
        if self.stretches.len() >= MOST {
            self.stretches.remove(0);
        }
        self.stretches.push(Stretch { from_ns: now.monotonic_ns, ahead_ns: now.ahead_ns() });
        let asleep_ns = (now.boot_ns - now.monotonic_ns).saturating_sub(before.boot_ns - before.monotonic_ns);
        self.notes.push(told(set_ns, asleep_ns, now.monotonic_ns - self.began_ns));
    }

    /// What happened to the clock since the last call.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// When it was last looked at, by the clock of the records.
    pub fn now_ns(&self) -> u64 {
        self.now.monotonic_ns
    }

    /// A time of the server (microseconds since the Unix epoch) by the clock of the records. Where the clock was set back,
    /// the same time comes twice: the later one is meant, unless it has not come yet.
    pub fn monotonic_ns(&self, real_us: u64) -> u64 {
        let by = |stretch: &Stretch| (real_us as i64).saturating_mul(1_000).saturating_sub(stretch.ahead_ns);
        let now = self.now.monotonic_ns as i64;
        let fits = |stretch: &&Stretch| (stretch.from_ns as i64 - LATE_NS..=now + LATE_NS).contains(&by(stretch));
        let of = self.stretches.iter().rev().find(fits).or(self.stretches.last());
        of.map_or(0, |stretch| by(stretch).max(0) as u64)
    }

    /// When a process started, in microseconds since the Unix epoch by the clock as it is now; within 10 ms.
    pub fn process_start_us(&self, pid: u32) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The 22nd field; the second, in parentheses, may hold spaces.
        let ticks: u64 = stat.rsplit(") ").next()?.split(' ').nth(19)?.parse().ok()?;
        let since_boot_ns = ticks * (1_000_000_000 / TICKS);
        Some((self.now.real_ns - self.now.boot_ns.checked_sub(since_boot_ns)?.min(self.now.real_ns)) / 1_000)
    }
}

fn told(set_ns: i64, asleep_ns: u64, at_ns: u64) -> String {
    let at = at_ns as f64 / 1e9;
    if asleep_ns >= STEP_NS {
        return format!(
            "the machine was suspended for {} up to {at:.1} s into the profile: that time is in no duration, and the profile is \
             shorter than it looks by the clock",
            words::duration(asleep_ns)
        );
    }
    let (by, way) = (words::duration(set_ns.unsigned_abs()), if set_ns > 0 { "forwards" } else { "back" });
    format!(
        "the clock was set {way} by {by} about {at:.1} s into the profile: no duration and no ledger is measured with it, but a checkpoint under way \
         then may be missing"
    )
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

    const S: u64 = 1_000_000_000;
    /// The server's clock at the monotonic clock's 0, in seconds.
    const EPOCH: u64 = 1_700_000_000;

    /// A look at a time of the monotonic clock, the clock set by so many seconds and so many slept until then.
    fn look(at: u64, set: i64, asleep: u64) -> Look {
        let real = (EPOCH + at).saturating_add_signed(set) + asleep;
        Look { real_ns: real * S, monotonic_ns: at * S, boot_ns: (at + asleep) * S }
    }

    fn real_us(at: u64, set: i64) -> u64 {
        (EPOCH + at).saturating_add_signed(set) * 1_000_000
    }

    #[test]
    fn clocks_agree() {
        let mut clock = Clock::now();
        clock.look();
        assert_eq!(clock.notes(), [""; 0]);
        let started = clock.process_start_us(std::process::id()).unwrap();
        let ago = clock.now_ns() as i64 - clock.monotonic_ns(started) as i64;
        assert!((-20_000_000..600 * S as i64).contains(&ago), "{ago}");
    }

    #[test]
    fn the_clock_is_set() {
        for hours in [5, -3] {
            let set = hours * 3600;
            let mut clock = Clock::from(look(1_000, 0, 0));
            assert_eq!(clock.monotonic_ns(real_us(900, 0)), 900 * S, "a checkpoint before the profile");
            clock.looked(look(1_010, 0, 0));
            clock.looked(look(1_011, set, 0));
            clock.looked(look(1_020, set, 0));
            assert_eq!(clock.monotonic_ns(real_us(1_005, 0)), 1_005 * S, "before the step");
            assert_eq!(clock.monotonic_ns(real_us(1_015, set)), 1_015 * S, "after it");
            let said = clock.notes();
            assert_eq!(said.len(), 1);
            let how = if hours > 0 { "set forwards by 5" } else { "set back by 3" };
            assert!(said[0].contains(how) && said[0].contains("11.0 s into"), "{said:?}");
            clock.looked(look(1_030, 0, 0));
            assert_eq!(clock.monotonic_ns(real_us(1_029, 0)), 1_029 * S, "set right again");
            assert_eq!(clock.monotonic_ns(real_us(1_015, set)), 1_015 * S);
        }
    }

    /// The monotonic clock stands still in a suspend, and the server's goes on.
    #[test]
    fn the_machine_is_suspended() {
        let mut clock = Clock::from(look(1_000, 0, 7));
        clock.looked(look(1_010, 0, 7 + 7200));
        assert_eq!(clock.monotonic_ns(real_us(1_005, 7)), 1_005 * S);
        assert_eq!(clock.monotonic_ns(real_us(1_010, 7 + 7200)), 1_010 * S);
        let said = clock.notes();
        assert!(said.len() == 1 && said[0].starts_with("the machine was suspended for 2"), "{said:?}");
    }

    #[test]
    fn steps_have_a_bound() {
        let mut clock = Clock::from(look(1_000, 0, 0));
        (1..1_000).for_each(|step| clock.looked(look(1_000 + step, step as i64 * 10, 0)));
        assert_eq!(clock.stretches.len(), MOST);
        assert_eq!(clock.monotonic_ns(real_us(1_990, 9_900)), 1_990 * S);
    }
}
