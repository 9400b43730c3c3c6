//! The backends as the kernel side keeps them: one slot per pid, and a second map for those whose slot was taken.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use pgstrobe_common::state::{BACKEND_SLOTS, Backend};

/// `BPF_NOEXIST` and `BPF_EXIST` (include/uapi/linux/bpf.h).
const NOEXIST: u64 = 1;
const EXIST: u64 = 2;

pub struct Backends {
    slots: Array<MapData, Backend>,
    crowded: HashMap<MapData, u32, Backend>,
    any_crowded: Array<MapData, u64>,
}

impl Backends {
    /// Takes the maps out of what was loaded.
    ///
    /// # Errors
    /// A map is not there: kernel side and userspace differ.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let mut map = |name: &str| ebpf.take_map(name).with_context(|| format!("no map {name}"));
        Ok(Self {
            slots: Array::try_from(map("BACKENDS")?)?,
            crowded: HashMap::try_from(map("CROWDED")?)?,
            any_crowded: Array::try_from(map("ANY_CROWDED")?)?,
        })
    }

    /// Enters a backend that was found running; `false` when the fork hook was faster, or there is no room.
    pub fn enter(&mut self, state: Backend) -> bool {
        let slot = state.pid % BACKEND_SLOTS;
        match self.slots.get(&slot, 0).map(|known| known.pid) {
            Ok(0) => self.slots.set(slot, state, 0).is_ok(),
            Ok(pid) if pid != state.pid => {
                self.any_crowded.set(0, 1, 0).is_ok() && self.crowded.insert(state.pid, state, NOEXIST).is_ok()
            }
            _ => false,
        }
    }

    /// Corrects the state of a backend that was entered; what the kernel side changes in that moment is lost.
    pub fn replace(&mut self, state: Backend) {
        let slot = state.pid % BACKEND_SLOTS;
        if self.slots.get(&slot, 0).is_ok_and(|known| known.pid == state.pid) {
            let _ = self.slots.set(slot, state, 0);
        } else {
            let _ = self.crowded.insert(state.pid, state, EXIST);
        }
    }

    /// Forgets a backend whose end nobody saw.
    pub fn leave(&mut self, pid: u32) {
        let slot = pid % BACKEND_SLOTS;
        if self.slots.get(&slot, 0).is_ok_and(|known| known.pid == pid) {
            let _ = self.slots.set(slot, Backend::default(), 0);
        } else {
            let _ = self.crowded.remove(&pid);
        }
    }

    /// The state of every backend, as it is while it is read: times and ledgers are of one moment, but the batch may be
    /// in the middle of a change.
    pub fn all(&self) -> impl Iterator<Item = Backend> + '_ {
        let slots = (0..BACKEND_SLOTS).filter_map(|slot| self.slots.get(&slot, 0).ok()).filter(|state| state.pid != 0);
        slots.chain(self.crowded.iter().flatten().map(|(_, state)| state))
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
            if third.batch.generation == first.batch.generation {
                first.batch.statements = second.batch.statements;
                return Some(first);
            }
            first.batch = third.batch;
        }
    }

    /// The state of one backend, as it is while it is read.
    pub fn get(&self, pid: u32) -> Option<Backend> {
        let slot = self.slots.get(&(pid % BACKEND_SLOTS), 0).ok()?;
        if slot.pid == pid { Some(slot) } else { self.crowded.get(&pid, 0).ok() }
    }
}
