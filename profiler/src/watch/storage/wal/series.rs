//! WAL over time, in a bounded number of steps.

use crate::{postgres::wal_usage::WalUsage, report::model::WalStep};

/// Steps of the series; when there are more, each two become one.
const STEPS: usize = 300;
/// Length of a step at first, in nanoseconds: two looks.
const STEP_NS: u64 = 200_000_000;

pub struct Series {
    began_ns: u64,
    step_ns: u64,
    steps: Vec<WalUsage>,
}

impl Series {
    pub fn new(began_ns: u64) -> Self {
        Self { began_ns, step_ns: STEP_NS, steps: Vec::new() }
    }

    /// What was found to be written at this time.
    pub fn add(&mut self, gained: &WalUsage, now_ns: u64) {
        let place = |step_ns| (now_ns.saturating_sub(self.began_ns) / step_ns) as usize;
        while place(self.step_ns) >= STEPS {
            self.steps = self.steps.chunks(2).map(|pair| pair.iter().fold(WalUsage::default(), sum)).collect();
            self.step_ns *= 2;
        }
        let at = place(self.step_ns);
        if self.steps.len() <= at {
            self.steps.resize(at + 1, WalUsage::default());
        }
        self.steps[at].add(gained);
    }

    pub fn model(self) -> Vec<WalStep> {
        let step_ns = self.step_ns;
        let step = |(at, usage): (usize, &WalUsage)| WalStep {
            began_ns: at as u64 * step_ns,
            duration_ns: step_ns,
            written: super::model(usage),
        };
        self.steps.iter().enumerate().map(step).collect()
    }
}

fn sum(mut sum: WalUsage, one: &WalUsage) -> WalUsage {
    sum.add(one);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_and_nothing_is_lost() {
        let mut series = Series::new(1_000);
        let one = WalUsage { records: 1, images: 0, bytes: 50 };
        for at in 0..10_000 {
            series.add(&one, 1_000 + at * 100_000_000);
        }
        let steps = series.model();
        assert!(steps.len() <= STEPS && steps.len() > STEPS / 2, "{}", steps.len());
        assert_eq!(steps.iter().map(|step| step.written.records).sum::<u64>(), 10_000);
        assert_eq!(steps[1].began_ns, steps[0].duration_ns);
    }
}
