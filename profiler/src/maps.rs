//! Maps of the kernel side as those see them who read them: tables of plain types. What the programs are loaded with
//! implements them ([`crate::instrument`]); in a test a [`HashMap`] does.

use std::{collections::HashMap, hash::Hash, io};

/// Reads a kernel stack by its number: addresses, innermost first; none where there is no such stack.
pub type ReadStack = Box<dyn Fn(u32) -> Option<Vec<u64>>>;

/// Values by key.
pub trait Table<K, V> {
    /// A copy of the value, as it is in this moment.
    fn get(&self, key: &K) -> Option<V>;

    /// Enters a value, or replaces the one that is there.
    ///
    /// # Errors
    /// The table is full, or the kernel refuses.
    fn set(&mut self, key: &K, value: &V) -> io::Result<()>;

    /// Enters a value unless there is one; `false` where there is one, or no room.
    fn add(&mut self, key: &K, value: &V) -> bool;

    /// Replaces a value if there is one still.
    fn replace(&mut self, key: &K, value: &V);

    fn remove(&mut self, key: &K);

    fn keys(&self) -> Vec<K>;

    /// All that is there. What is entered or removed meanwhile may be missing.
    fn entries(&self) -> Box<dyn Iterator<Item = (K, V)> + '_>;
}

/// A table, whoever keeps it.
pub type Map<K, V> = Box<dyn Table<K, V>>;

impl<K: Copy + Eq + Hash, V: Copy> Table<K, V> for HashMap<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        HashMap::get(self, key).copied()
    }

    fn set(&mut self, key: &K, value: &V) -> io::Result<()> {
        self.insert(*key, *value);
        Ok(())
    }

    fn add(&mut self, key: &K, value: &V) -> bool {
        let free = !self.contains_key(key);
        if free {
            self.insert(*key, *value);
        }
        free
    }

    fn replace(&mut self, key: &K, value: &V) {
        if let Some(known) = self.get_mut(key) {
            *known = *value;
        }
    }

    fn remove(&mut self, key: &K) {
        HashMap::remove(self, key);
    }

    fn keys(&self) -> Vec<K> {
        HashMap::keys(self).copied().collect()
    }

    fn entries(&self) -> Box<dyn Iterator<Item = (K, V)> + '_> {
        Box::new(self.iter().map(|(key, value)| (*key, *value)))
    }
}
