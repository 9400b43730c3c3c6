//! The past in stretches of time: short ones of late, longer ones the older they are, and none beyond a bound.

use std::collections::VecDeque;

use super::Merge;

/// How many stretches a level holds, and how many of them become one of the next level.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    pub keep: usize,
    pub join: usize,
}

/// For stretches of a second: a minute of them, ten minutes of ten seconds each, an hour of minutes.
pub const HINDSIGHT: [Level; 3] =
    [Level { keep: 60, join: 10 }, Level { keep: 60, join: 6 }, Level { keep: 60, join: 1 }];

/// See the module. Stretches come in the order of time, and follow each other without a gap.
#[derive(Clone, Debug)]
pub struct Window<T> {
    levels: Vec<(Level, VecDeque<T>)>,
}

impl<T: Merge> Window<T> {
    /// Levels from the shortest stretches to the longest; what leaves the last one is dropped.
    pub fn new(levels: &[Level]) -> Self {
        Self { levels: levels.iter().map(|level| (*level, VecDeque::new())).collect() }
    }

    /// The newest stretch.
    pub fn push(&mut self, newest: T) {
        let mut next = Some(newest);
        for (level, parts) in &mut self.levels {
            let Some(part) = next.take() else { return };
            parts.push_back(part);
            if parts.len() >= level.keep + level.join {
                next = parts.drain(..level.join).reduce(|mut whole, part| {
                    whole.merge(part);
                    whole
                });
            }
        }
    }

    /// The oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.levels.iter().rev().flat_map(|(_, parts)| parts)
    }

    /// At most the sum of what the levels keep and join.
    pub fn len(&self) -> usize {
        self.levels.iter().map(|(_, parts)| parts.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Merge for Vec<u32> {
        fn merge(&mut self, later: Self) {
            self.extend(later);
        }
    }

    #[test]
    fn older_stretches_are_longer_and_nothing_between_is_missing() {
        let mut window =
            Window::new(&[Level { keep: 3, join: 2 }, Level { keep: 2, join: 3 }, Level { keep: 2, join: 1 }]);
        assert!(window.is_empty());
        let mut longest = 0;
        for n in 0..1_000 {
            window.push(vec![n]);
            let all: Vec<u32> = window.iter().flatten().copied().collect();
            assert_eq!(all.last(), Some(&n));
            assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 1), "{all:?}");
            assert!(window.iter().is_sorted_by_key(|part| std::cmp::Reverse(part.len())));
            longest = longest.max(window.len());
        }
        assert!((8..=12).contains(&longest), "{longest}");
        let all: usize = window.iter().map(Vec::len).sum();
        assert!(all >= 2 * 6 + 2 * 2 + 3, "{all}");
    }
}
