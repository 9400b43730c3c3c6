//! What nobody uses any more makes room, on both sides.
//!
//! The kernel side sends a text once, and then only its key. So a key is forgotten in two steps. First the kernel side is told to:
//! whoever uses it from then on sends the text again. A backend may hold on to a key that it has used before, though, and send no
//! text; hence it is kept here until, some time later, no backend has it in hand and nobody has used it since.

use std::collections::HashSet;

use super::{FIXED, OTHER, Texts};
use crate::aggregate::MAX_CLASSES;

/// From here on classes that nobody uses are forgotten.
const MANY_CLASSES: usize = MAX_CLASSES / 4 * 3;
/// Keys without room for their class that get another try at a time.
const RETRIES: usize = 1_000;

/// A key of the kernel side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub class: u32,
    /// When the keys had last aged when it was last used.
    pub used_ns: u64,
    /// When the kernel side was told to forget it, unless its text came again.
    pub forgotten_ns: Option<u64>,
}

impl Texts {
    /// Keys of which the kernel side knows that their text is here.
    pub fn keys(&self) -> usize {
        self.keys.values().filter(|key| key.forgotten_ns.is_none()).count()
    }

    /// The account is closed at this moment.
    pub fn close(&mut self, now_ns: u64) {
        self.classes.close(now_ns);
    }

    /// Whether something is to be forgotten, where the kernel side has room for so many keys.
    pub fn is_crowded(&self, room: usize) -> bool {
        self.keys.len() > room
            || self.classes.len() > MANY_CLASSES
            || self.keys.values().any(|key| key.forgotten_ns.is_some())
    }

    /// Forgets what makes room, and returns the keys that the kernel side is to forget. `in_hand` are those that backends have.
    pub fn age(&mut self, now_ns: u64, room: usize, in_hand: &HashSet<u64>) -> Vec<u64> {
        let mut forget = self.forget_keys(now_ns, in_hand);
        let old: HashSet<u32> = match self.classes.len() > MANY_CLASSES {
            true => self.classes.unused(FIXED, now_ns).collect(),
            false => HashSet::new(),
        };
        let mut known: Vec<_> = self
            .keys
            .iter_mut()
            .filter(|((key, _), known)| known.forgotten_ns.is_none() && !in_hand.contains(key))
            .collect();
        known.sort_unstable_by_key(|((key, _), known)| (known.used_ns, *key));
        // Down to three quarters, so that this is not to be done again at once.
        let surplus = if known.len() > room { known.len() - room / 4 * 3 } else { 0 };
        let mut retries = if self.classes.len() < MANY_CLASSES { RETRIES } else { 0 };
        for (n, ((key, _), known)) in known.into_iter().enumerate() {
            let again = known.class == OTHER && retries > 0;
            retries -= usize::from(again);
            if n < surplus || old.contains(&known.class) || again {
                known.forgotten_ns = Some(now_ns);
                forget.push(*key);
            }
        }
        let asked: HashSet<u32> = self.keys.values().map(|key| key.class).collect();
        for class in old.difference(&asked) {
            if let Some(class) = self.classes.remove(*class) {
                self.taken -= class.text.len();
            }
        }
        self.fingerprints.retain(|_, class| self.classes.get(*class).is_some());
        self.aged_ns = now_ns;
        forget
    }

    /// The second step. A key that was used, or that a backend has in hand, is told to the kernel side once more.
    fn forget_keys(&mut self, now_ns: u64, in_hand: &HashSet<u64>) -> Vec<u64> {
        let mut again = Vec::new();
        self.keys.retain(|(key, _), known| {
            let Some(at) = known.forgotten_ns else { return true };
            let kept = known.used_ns >= at || in_hand.contains(key);
            if kept {
                known.forgotten_ns = Some(now_ns);
                again.push(*key);
            }
            kept
        });
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;
    const HOUR: u64 = 60 * MINUTE;

    fn learn(texts: &mut Texts, key: u64) -> u32 {
        texts.learn(key, true, format!("SELECT {key}").as_bytes(), false, true);
        texts.class(key, true)
    }

    #[test]
    fn new_classes_always_have_room() {
        let mut texts = Texts::new(true);
        let mut kernel = HashSet::new();
        for hour in 1..72 {
            for key in [7].into_iter().chain(hour * 1_000..hour * 1_000 + 500) {
                if kernel.insert(key) {
                    assert_ne!(learn(&mut texts, key), OTHER, "hour {hour}");
                }
                let class = texts.class(key, true);
                assert_eq!(texts.get(class).text, format!("SELECT {key}"));
            }
            texts.close(hour * HOUR);
            for key in texts.age(hour * HOUR, 4_000, &HashSet::from([7])) {
                kernel.remove(&key);
            }
            assert!(
                texts.classes.len() <= MAX_CLASSES && kernel.len() <= 4_500 && texts.keys() <= 4_500,
                "hour {hour}"
            );
        }
    }

    #[test]
    fn what_a_backend_has_in_hand_is_kept() {
        let mut texts = Texts::new(true);
        let class = learn(&mut texts, 1);
        (2..100).for_each(|key| _ = learn(&mut texts, key));
        texts.close(HOUR);
        let none = HashSet::new();
        let mut forgotten = texts.age(HOUR, 40, &none);
        forgotten.sort_unstable();
        assert_eq!(forgotten, (1..=69).collect::<Vec<u64>>(), "those beyond three quarters of the room");
        // The backend that had it in hand uses it, without a text.
        let again = texts.age(HOUR + MINUTE, 40, &HashSet::from([1]));
        assert_eq!((again, texts.keys.len()), (vec![1], 31));
        assert_eq!(texts.class(1, true), class);
        assert_eq!(texts.age(HOUR + 2 * MINUTE, 40, &none), [1], "used since");
        // Its text comes again.
        texts.learn(1, true, b"SELECT 1", false, true);
        assert_eq!((texts.age(HOUR + 3 * MINUTE, 40, &none).len(), texts.class(1, true)), (0, class));
    }

    #[test]
    fn what_found_no_room_is_tried_again() {
        let mut texts = Texts::new(true);
        let first = 10;
        let last = first + (MAX_CLASSES - FIXED as usize) as u64;
        (first..last).for_each(|key| _ = learn(&mut texts, key));
        assert_eq!(learn(&mut texts, last), OTHER);
        texts.close(HOUR);
        let none = HashSet::new();
        // Too early for the classes: accounts of the last hours have their numbers.
        assert_eq!(texts.age(2 * HOUR, 10_000, &none).len(), 0);
        texts.class(last, true);
        let later = 4 * HOUR;
        assert!(texts.age(later, 10_000, &none).len() > MAX_CLASSES - 10);
        texts.age(later + MINUTE, 10_000, &none);
        assert!(texts.classes.len() < 10, "{}", texts.classes.len());
        assert_eq!(texts.age(later + 2 * MINUTE, 10_000, &none), [last]);
        texts.age(later + 3 * MINUTE, 10_000, &none);
        assert_ne!(learn(&mut texts, last), OTHER);
    }
}
