//! What the servers' statement classes take, on both sides, is bounded for months: those that nobody uses make room.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use pgstrobe_common::{cluster::CLASS_KEYS, state::Backend};

use super::Watches;
use crate::kernel::features::monotonic_ns;

/// How often it is looked at. Between the two steps in which a key is forgotten every record under way is drained.
pub(super) const AGE: Duration = Duration::from_secs(10);
/// Keys of all servers from which on some are forgotten: before the map of the kernel side is full.
const ROOM: usize = CLASS_KEYS as usize / 4 * 3;

impl Watches {
    /// Forgets classes, owners and keys where they are many.
    pub(super) fn age(&mut self) {
        if !self.age.is_due() {
            return;
        }
        let keys: usize = self.watches.values().map(|watch| watch.aggregate.class_keys()).sum();
        // Each server has its share of the room.
        let room = |of: usize| if keys > ROOM { of * ROOM / keys } else { of };
        let live: Vec<u32> = self.watches.values().flat_map(|watch| watch.aggregate.live()).collect();
        let crowded = self.watches.values_mut().filter_map(|watch| {
            let room = room(watch.aggregate.class_keys());
            watch.aggregate.is_crowded(room).then_some((watch, room))
        });
        let mut in_hand: Option<HashMap<u64, HashSet<u64>>> = None;
        for (watch, room) in crowded {
            let in_hand = in_hand.get_or_insert_with(|| held(live.iter().filter_map(|pid| self.backends.get(*pid))));
            let of_server = in_hand.entry(watch.number.into()).or_default();
            let forget = watch.aggregate.age(monotonic_ns(), room, of_server);
            tracing::debug!("server {}: {} keys of classes are forgotten", watch.number, forget.len());
            self.clusters.forget_keys(watch.number, &forget);
        }
    }
}

/// The keys that backends may use without sending a text, by server.
fn held(backends: impl Iterator<Item = Backend>) -> HashMap<u64, HashSet<u64>> {
    let mut held: HashMap<u64, HashSet<u64>> = HashMap::new();
    for state in backends {
        held.entry(state.cluster.into()).or_default().extend([state.known_key, state.last_key, state.class_key]);
    }
    held
}
