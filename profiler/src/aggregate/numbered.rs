//! Things that are told apart by a number, for months: a number stands for one thing only, and is never given again. What nobody
//! has used for a while makes room; accounts that were closed since then still find it.

use std::time::Duration;

use rustc_hash::FxHashMap;

/// For how long a number is kept after its last use: longer than [`crate::time::HINDSIGHT`] reaches back, whose accounts have
/// numbers in them.
pub(super) const KEPT: Duration = Duration::from_secs(2 * 3600);

/// Used in the account under way, which is kept as a whole however long that is.
const NOW: u64 = u64::MAX;

#[derive(Clone, Debug)]
pub(super) struct Numbered<T> {
    things: FxHashMap<u32, (T, u64)>,
    next: u32,
}

impl<T> Numbered<T> {
    /// Those that are there for good have the first numbers, from 0 on.
    pub fn with(fixed: impl IntoIterator<Item = T>) -> Self {
        let mut this = Self { things: FxHashMap::default(), next: 0 };
        for thing in fixed {
            this.add(thing);
        }
        this
    }

    pub fn len(&self) -> usize {
        self.things.len()
    }

    pub fn add(&mut self, thing: T) -> u32 {
        let number = self.next;
        self.next += 1;
        self.things.insert(number, (thing, NOW));
        number
    }

    pub fn get(&self, number: u32) -> Option<&T> {
        self.things.get(&number).map(|(thing, _)| thing)
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.things.get_mut(&number).map(|(thing, _)| thing)
    }

    /// It is used in the account under way.
    pub fn touch(&mut self, number: u32) {
        if let Some((_, used_ns)) = self.things.get_mut(&number) {
            *used_ns = NOW;
        }
    }

    /// The account is closed: what was used in it was used until now.
    pub fn close(&mut self, now_ns: u64) {
        for (_, used_ns) in self.things.values_mut().filter(|(_, used_ns)| *used_ns == NOW) {
            *used_ns = now_ns;
        }
    }

    /// Those past the first `fixed` that nobody has used for [`KEPT`].
    pub fn unused(&self, fixed: u32, now_ns: u64) -> impl Iterator<Item = u32> {
        let before = now_ns.saturating_sub(KEPT.as_nanos() as u64);
        let old =
            move |(number, (_, used_ns)): (&u32, &(T, u64))| (*number >= fixed && *used_ns < before).then_some(*number);
        self.things.iter().filter_map(old)
    }

    pub fn remove(&mut self, number: u32) -> Option<T> {
        self.things.remove(&number).map(|(thing, _)| thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::HINDSIGHT;

    #[test]
    fn a_number_is_kept_and_never_given_again() {
        let hour = 3_600_000_000_000;
        let mut numbered = Numbered::with(["unknown"]);
        let (old, new) = (numbered.add("old"), numbered.add("new"));
        numbered.close(hour);
        numbered.touch(new);
        // However long the account under way is.
        assert_eq!(numbered.unused(1, 9 * hour).collect::<Vec<_>>(), [old]);
        assert_eq!(numbered.unused(1, 3 * hour).count(), 0);
        assert_eq!((numbered.remove(old), numbered.get(old)), (Some("old"), None));
        assert!(numbered.add("third") > new);
        assert_eq!(numbered.get(0), Some(&"unknown"));
    }

    #[test]
    fn longer_than_the_hindsight() {
        let mut step = 1;
        let seconds = HINDSIGHT.iter().map(|level| {
            let span = level.keep as u64 * step;
            step *= level.join as u64;
            span
        });
        assert!(seconds.sum::<u64>() < KEPT.as_secs());
    }
}
