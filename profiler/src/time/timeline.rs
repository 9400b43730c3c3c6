//! What happened over time, in a bounded number of steps.
//!
//! Steps lie on a grid, so that those of two stretches of time are the same where they meet. With too many, each two become
//! one: how long a step is depends only on how far the first and the last are apart, and not on who was merged when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Merge;

/// Steps of `STEP_NS` nanoseconds at first, at most `MOST` from the first one to the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline<T, const STEP_NS: u64, const MOST: u64> {
    /// Where the grid begins, by `CLOCK_MONOTONIC`: the same for all stretches of a profile.
    origin_ns: u64,
    /// How often the steps were made twice as long.
    doubled: u32,
    /// By their number from the origin.
    steps: BTreeMap<u64, T>,
}

impl<T: Merge, const STEP_NS: u64, const MOST: u64> Timeline<T, STEP_NS, MOST> {
    pub const fn on(origin_ns: u64) -> Self {
        Self { origin_ns, doubled: 0, steps: BTreeMap::new() }
    }

    /// Length of a step in nanoseconds.
    pub const fn step_ns(&self) -> u64 {
        STEP_NS << self.doubled
    }

    /// What happened at this time, or from then on for less than a step. Times come in their order.
    pub fn add(&mut self, at_ns: u64, what: T) {
        let number = at_ns.saturating_sub(self.origin_ns) / self.step_ns();
        self.enter(number, what);
        self.bound();
    }

    fn enter(&mut self, number: u64, what: T) {
        match self.steps.get_mut(&number) {
            Some(step) => step.merge(what),
            None => drop(self.steps.insert(number, what)),
        }
    }

    fn bound(&mut self) {
        while let Some((first, last)) = self.ends()
            && last - first >= MOST
        {
            self.double();
        }
    }

    fn double(&mut self) {
        self.doubled += 1;
        for (number, step) in std::mem::take(&mut self.steps) {
            self.enter(number / 2, step);
        }
    }

    fn ends(&self) -> Option<(u64, u64)> {
        Some((*self.steps.first_key_value()?.0, *self.steps.last_key_value()?.0))
    }

    /// From the first step to the last with the times they began: none where nothing was added.
    pub fn steps(&self) -> impl Iterator<Item = (u64, Option<&T>)> {
        let all = self.ends().map(|(first, last)| first..=last).into_iter().flatten();
        all.map(|number| (self.origin_ns + number * self.step_ns(), self.steps.get(&number)))
    }
}

impl<T: Merge, const STEP_NS: u64, const MOST: u64> Merge for Timeline<T, STEP_NS, MOST> {
    fn merge(&mut self, mut later: Self) {
        if self.steps.is_empty() {
            *self = later;
            return;
        }
        while later.doubled < self.doubled {
            later.double();
        }
        while self.doubled < later.doubled {
            self.double();
        }
        let (origin_ns, step_ns) = (later.origin_ns, later.step_ns());
        for (number, step) in later.steps {
            let at_ns = origin_ns + number * step_ns;
            self.enter(at_ns.saturating_sub(self.origin_ns) / step_ns, step);
        }
        self.bound();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Counts = Timeline<u64, 10, 8>;

    fn of(times: impl Iterator<Item = u64>) -> Counts {
        let mut timeline = Counts::on(1_000);
        times.for_each(|at| timeline.add(at, 1));
        timeline
    }

    #[test]
    fn steps_grow_and_nothing_is_lost() {
        let timeline = of((0..1_000).map(|at| 1_003 + at * 7));
        let steps: Vec<(u64, u64)> = timeline.steps().map(|(at, n)| (at, n.copied().unwrap_or(0))).collect();
        assert!((5..=8).contains(&steps.len()), "{steps:?}");
        assert_eq!((steps[0].0, steps[1].0), (1_000, 1_000 + timeline.step_ns()));
        assert_eq!(steps.iter().map(|(_, n)| n).sum::<u64>(), 1_000);
    }

    #[test]
    fn two_parts_are_the_whole_wherever_it_is_cut() {
        let times: Vec<u64> = (0..200).map(|at| 1_050 + at * 13 % 7 + at * 9).collect();
        for end in [1, 5, 30, 200] {
            let times = &times[..end];
            for cut in 0..=end {
                let mut merged = Counts::default();
                merged.merge(of(times[..cut].iter().copied()));
                merged.merge(of(times[cut..].iter().copied()));
                assert_eq!(merged, of(times.iter().copied()), "{cut} of {end}");
            }
        }
    }

    #[test]
    fn a_step_without_anything_is_there() {
        let timeline = of([1_000, 1_031].into_iter());
        assert_eq!(timeline.steps().map(|(_, n)| n.copied()).collect::<Vec<_>>(), [Some(1), None, None, Some(1)]);
        assert_eq!(Counts::default().steps().count(), 0);
    }
}
