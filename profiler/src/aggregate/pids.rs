//! The processes named in a row.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Those kept; the row counts them all.
pub(super) const MAX_PIDS: usize = 100;

/// In the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pids(BTreeSet<u32>);

impl Pids {
    pub fn add(&mut self, pid: u32) {
        if self.0.len() < MAX_PIDS {
            self.0.insert(pid);
        }
    }

    pub fn of(pid: u32) -> Self {
        Self(BTreeSet::from([pid]))
    }

    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|pid| self.add(*pid));
    }

    pub fn model(&self) -> Vec<u32> {
        self.0.iter().copied().collect()
    }
}
