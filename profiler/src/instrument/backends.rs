//! The backends as the kernel side keeps them: one slot per pid, and a second map for those whose slot was taken.

use pgstrobe_common::state::{BACKEND_SLOTS, Backend};

use crate::maps::Map;

/// Its three maps.
pub struct Backends {
    pub slots: Map<u32, Backend>,
    pub crowded: Map<u32, Backend>,
    /// Its one value is not 0 once there was a backend in `crowded`.
    pub any_crowded: Map<u32, u64>,
}

impl Backends {
    /// Enters a backend that was found running; `false` when the fork hook was faster, or there is no room.
    pub fn enter(&mut self, state: Backend) -> bool {
        let slot = state.pid % BACKEND_SLOTS;
        match self.slots.get(&slot).map(|known| known.pid) {
            Some(0) => self.slots.set(&slot, &state).is_ok(),
            Some(pid) if pid != state.pid => {
                self.any_crowded.set(&0, &1).is_ok() && self.crowded.add(&state.pid, &state)
            }
            _ => false,
        }
    }

    /// Corrects the state of a backend that was entered; what the kernel side changes in that moment is lost.
    pub fn replace(&mut self, state: Backend) {
        let slot = state.pid % BACKEND_SLOTS;
        if self.slots.get(&slot).is_some_and(|known| known.pid == state.pid) {
            self.slots.replace(&slot, &state);
        } else {
            self.crowded.replace(&state.pid, &state);
        }
    }

    /// Forgets a backend whose end nobody saw.
    pub fn leave(&mut self, pid: u32) {
        let slot = pid % BACKEND_SLOTS;
        if self.slots.get(&slot).is_some_and(|known| known.pid == pid) {
            self.slots.replace(&slot, &Backend::default());
        } else {
            self.crowded.remove(&pid);
        }
    }

    /// The state of a backend with a batch that is whole.
    ///
    /// Statements are only ever added to a batch until it is sent, and then its generation changes. So the length from one
    /// look and the statements from a later one belong together if a third look still sees the same generation.
    pub fn with_batch(&self, first: &Backend) -> Option<Backend> {
        let mut first = *first;
        loop {
            let second = self.get(first.pid)?;
            let third = self.get(first.pid)?;
            if third.batch.head.generation == first.batch.head.generation {
                first.batch.statements = second.batch.statements;
                return Some(first);
            }
            first.batch = third.batch;
        }
    }

    /// The state of one backend, as it is while it is read: times and ledgers are of one moment, but the batch may be in the
    /// middle of a change.
    pub fn get(&self, pid: u32) -> Option<Backend> {
        let slot = self.slots.get(&(pid % BACKEND_SLOTS))?;
        if slot.pid == pid { Some(slot) } else { self.crowded.get(&pid) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn two_of_one_slot_are_kept_apart() {
        let slots: HashMap<u32, Backend> = (0..BACKEND_SLOTS).map(|slot| (slot, Backend::default())).collect();
        let mut backends = Backends {
            slots: Box::new(slots),
            crowded: Box::new(HashMap::new()),
            any_crowded: Box::new(HashMap::from([(0, 0)])),
        };
        let of = |pid, flags| Backend { pid, flags, ..Backend::default() };
        assert!(backends.enter(of(7, 1)) && backends.enter(of(7 + BACKEND_SLOTS, 2)));
        assert!(!backends.enter(of(7, 3)) && !backends.enter(of(7 + BACKEND_SLOTS, 3)), "the fork hook was faster");
        assert_eq!(backends.any_crowded.get(&0), Some(1));
        backends.replace(of(7 + BACKEND_SLOTS, 4));
        backends.replace(of(8, 5));
        let flags = |backends: &Backends| [7, 7 + BACKEND_SLOTS, 8].map(|pid| backends.get(pid).map(|b| b.flags));
        assert_eq!(flags(&backends), [Some(1), Some(4), None]);
        assert_eq!(
            (backends.crowded.keys(), backends.get(7 + 2 * BACKEND_SLOTS).map(|b| b.pid)),
            (vec![7 + BACKEND_SLOTS], None)
        );
        backends.leave(7);
        assert_eq!(flags(&backends), [None, Some(4), None]);
        backends.leave(7 + BACKEND_SLOTS);
        assert_eq!((flags(&backends), backends.crowded.keys().len()), ([None; 3], 0));
    }
}
