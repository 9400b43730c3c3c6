//! Waits as a graph: what a blocker waits for in turn, and whether a wait comes back to itself.

use std::collections::{HashMap, HashSet};

use super::Sight;

/// Longest chain told.
const DEEPEST: usize = 16;
/// Characters of a text in a chain.
const SHORT: usize = 60;

/// The waits of one look, by the leader of the lock group that waits.
pub struct Graph<'a>(HashMap<u32, Vec<&'a Sight>>);

impl<'a> Graph<'a> {
    pub fn of(sights: &'a [Sight]) -> Self {
        let mut by_leader: HashMap<u32, Vec<&Sight>> = HashMap::new();
        for sight in sights {
            by_leader.entry(sight.leader).or_default().push(sight);
        }
        Self(by_leader)
    }

    /// Whether this one waits for itself through others: a deadlock.
    pub fn is_cycle(&self, leader: u32) -> bool {
        let mut next = vec![leader];
        let mut visited = HashSet::new();
        while let Some(pid) = next.pop() {
            for (blocker, _) in self.0.get(&pid).into_iter().flatten().flat_map(|sight| &sight.blockers) {
                if *blocker == leader {
                    return true;
                }
                if visited.insert(*blocker) {
                    next.push(*blocker);
                }
            }
        }
        false
    }

    /// What a blocker waits for, link by link, up to the one that waits for nobody, or to the first one again.
    pub fn chain<'t>(
        &self,
        blocker: u32,
        event: impl Fn(u32) -> String,
        text: impl Fn(u32) -> Option<&'t str>,
    ) -> Vec<String> {
        let mut links = Vec::new();
        let mut visited = HashSet::new();
        let mut pid = blocker;
        while visited.insert(pid) && links.len() < DEEPEST {
            let Some(sight) = self.0.get(&pid).and_then(|sights| sights.first()) else { break };
            let mut blamed = sight.blamed().map(|(pid, _)| pid);
            let Some(next) = blamed.next() else { break };
            let more = match blamed.count() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            let text = text(sight.waiter).map(|text| format!(" ({})", shortened(text))).unwrap_or_default();
            links.push(format!("pid {pid}{text} waits for {} of {}{more}", event(sight.event), named(next)));
            pid = next;
        }
        links
    }
}

fn named(pid: u32) -> String {
    if pid == 0 { "a prepared transaction".into() } else { format!("pid {pid}") }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.into(),
    }
}
