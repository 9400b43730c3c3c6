//! Maps of the kernel side under the trait by which the rest of the profiler knows them.

use std::io;

use aya::{
    Pod,
    maps::{Array, HashMap, MapData, MapError},
};

use crate::maps::Table;

/// `BPF_NOEXIST` and `BPF_EXIST` (include/uapi/linux/bpf.h).
const NOEXIST: u64 = 1;
const EXIST: u64 = 2;

pub(super) struct Hash<K: Pod, V: Pod>(pub HashMap<MapData, K, V>);

impl<K: Pod, V: Pod> Table<K, V> for Hash<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key, 0).ok()
    }

    fn set(&mut self, key: &K, value: &V) -> io::Result<()> {
        self.0.insert(key, value, 0).map_err(brief)
    }

    fn add(&mut self, key: &K, value: &V) -> bool {
        self.0.insert(key, value, NOEXIST).is_ok()
    }

    fn replace(&mut self, key: &K, value: &V) {
        let _ = self.0.insert(key, value, EXIST);
    }

    fn remove(&mut self, key: &K) {
        let _ = self.0.remove(key);
    }

    fn keys(&self) -> Vec<K> {
        self.0.keys().flatten().collect()
    }

    fn entries(&self) -> Box<dyn Iterator<Item = (K, V)> + '_> {
        Box::new(self.0.iter().flatten())
    }
}

/// By index; a value that was never set is all zeros.
pub(super) struct Slots<V: Pod>(pub Array<MapData, V>);

impl<V: Pod> Table<u32, V> for Slots<V> {
    fn get(&self, key: &u32) -> Option<V> {
        self.0.get(key, 0).ok()
    }

    fn set(&mut self, key: &u32, value: &V) -> io::Result<()> {
        self.0.set(*key, value, 0).map_err(brief)
    }

    /// Every slot of an array is taken.
    fn add(&mut self, _key: &u32, _value: &V) -> bool {
        false
    }

    fn replace(&mut self, key: &u32, value: &V) {
        let _ = self.0.set(*key, value, 0);
    }

    fn remove(&mut self, key: &u32) {
        // SAFETY: values of maps are plain integers, of which zeros are some.
        let _ = self.0.set(*key, unsafe { std::mem::zeroed::<V>() }, 0);
    }

    fn keys(&self) -> Vec<u32> {
        (0..self.0.len()).collect()
    }

    fn entries(&self) -> Box<dyn Iterator<Item = (u32, V)> + '_> {
        Box::new((0..self.0.len()).filter_map(|slot| Some((slot, self.get(&slot)?))))
    }
}

fn brief(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}
