//! Counters that only grow, and what came to them since they were last looked at.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
};

/// A counter, or several that are read together.
pub trait Gain {
    /// What came since it stood at `before`. One that runs backwards was begun anew, and of it nothing is known.
    fn since(&self, before: &Self) -> Self;
}

impl Gain for u64 {
    fn since(&self, before: &Self) -> Self {
        self.saturating_sub(*before)
    }
}

impl<T: Gain, const N: usize> Gain for [T; N] {
    fn since(&self, before: &Self) -> Self {
        std::array::from_fn(|at| self[at].since(&before[at]))
    }
}

/// One that was not there before began at nothing; of one that is gone nothing is known.
impl<K: Hash + Eq + Clone, V: Gain + Clone, S: BuildHasher + Default> Gain for HashMap<K, V, S> {
    fn since(&self, before: &Self) -> Self {
        let gained = |(key, now): (&K, &V)| {
            (key.clone(), before.get(key).map_or_else(|| now.clone(), |before| now.since(before)))
        };
        self.iter().map(gained).collect()
    }
}

/// How a counter stood when it was last taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since<T> {
    before: T,
}

impl<T: Gain> Since<T> {
    /// From here on.
    pub const fn from(now: T) -> Self {
        Self { before: now }
    }

    /// What it gained; the next stretch begins.
    pub fn take(&mut self, now: T) -> T {
        let gained = now.since(&self.before);
        self.before = now;
        gained
    }

    /// How it stood then.
    pub const fn before(&self) -> &T {
        &self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_come_and_go() {
        let before = HashMap::from([("a", 5_u64), ("gone", 7)]);
        assert_eq!(HashMap::from([("a", 9_u64), ("new", 2)]).since(&before), HashMap::from([("a", 4), ("new", 2)]));
    }

    #[test]
    fn each_stretch_has_what_came_in_it() {
        let mut since = Since::from(5_u64);
        assert_eq!([12, 12, 3, 10].map(|now| since.take(now)), [7, 0, 0, 7]);
        assert_eq!(Since::from([5_u64, 1]).take([12, 0]), [7, 0]);
    }
}
