//! How often a thing is done, in time: whoever asks at every tick need not know how long a tick is.

use std::time::{Duration, Instant};

/// Due once in a period, counted from when it was last due.
#[derive(Clone, Debug)]
pub struct Every {
    period: Duration,
    last: Option<Instant>,
}

impl Every {
    /// Due at once, and then every `period`.
    pub const fn new(period: Duration) -> Self {
        Self { period, last: None }
    }

    /// Due `period` from now at the earliest, and then every `period`.
    pub fn after(period: Duration) -> Self {
        Self { period, last: Some(Instant::now()) }
    }

    /// Whether it is due; if so, the next period begins.
    pub fn is_due(&mut self) -> bool {
        self.is_due_at(Instant::now())
    }

    /// Begins a period now: it was done for another reason.
    pub fn restart(&mut self) {
        self.last = Some(Instant::now());
    }

    fn is_due_at(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= self.period);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_in_a_period_however_often_it_is_asked() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut every = Every::new(Duration::from_secs(1));
        let due: Vec<u64> = (0..50).map(|n| n * 90).filter(|ms| every.is_due_at(at(*ms))).collect();
        assert_eq!(due, [0, 1080, 2160, 3240, 4320]);
        // Long after: once, and not once for each period that was missed.
        assert!(every.is_due_at(at(60_000)) && !every.is_due_at(at(60_500)));
        assert!(!Every::after(Duration::from_secs(3600)).is_due());
    }
}
