//! Sums of two stretches of time, one after the other.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hash},
};

/// What happened in a stretch of time. Merged in the order of time, the parts of a stretch are what the whole would have been.
pub trait Merge {
    /// Adds what happened right after. Sums grow; what is said of an end, as who is waiting still, is that of `later`.
    fn merge(&mut self, later: Self);
}

impl Merge for u64 {
    fn merge(&mut self, later: Self) {
        *self = self.saturating_add(later);
    }
}

impl<T: Merge> Merge for Option<T> {
    fn merge(&mut self, later: Self) {
        match (self.as_mut(), later) {
            (Some(one), Some(later)) => one.merge(later),
            (None, later) => *self = later,
            (_, None) => {}
        }
    }
}

impl<T: Merge> Merge for Box<T> {
    fn merge(&mut self, later: Self) {
        (**self).merge(*later);
    }
}

impl<K: Hash + Eq, V: Merge, S: BuildHasher> Merge for HashMap<K, V, S> {
    fn merge(&mut self, later: Self) {
        for (key, value) in later {
            match self.get_mut(&key) {
                Some(one) => one.merge(value),
                None => drop(self.insert(key, value)),
            }
        }
    }
}

impl<K: Ord, V: Merge> Merge for BTreeMap<K, V> {
    fn merge(&mut self, later: Self) {
        for (key, value) in later {
            match self.get_mut(&key) {
                Some(one) => one.merge(value),
                None => drop(self.insert(key, value)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_joined_by_key() {
        let mut one = HashMap::from([("a", 1_u64), ("b", 2)]);
        one.merge(HashMap::from([("b", 5), ("c", u64::MAX)]));
        assert_eq!(one, HashMap::from([("a", 1), ("b", 7), ("c", u64::MAX)]));
        let mut none: Option<u64> = None;
        none.merge(Some(3));
        none.merge(None);
        assert_eq!(none, Some(3));
    }
}
