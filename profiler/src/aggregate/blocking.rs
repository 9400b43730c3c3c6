//! Who kept whom waiting: from looks at the server's lock table and from wake-ups, to the rows of `blocking`.
//!
//! A wait seen at several looks is one wait, from when the waiter fell asleep to the last look that saw it: at most one tick
//! too short. Where the wake-up that ended it is known too ([`Aggregate::ended`]), its duration replaces that of the looks.
//!
//! A wait is in the row of each backend that holds what it waits for, with the time that one did: where several hold it,
//! their rows are not to be added up. Those that only stand before it in the queue have a row where nobody holds it: behind
//! a holder they wait for the same, and a queue of fifty would have twelve hundred such pairs.

mod chain;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::Aggregate;
use crate::vocabulary::{BlockerState, Role, Word};
use crate::{postgres::wait_event, report::model};
use chain::Graph;
pub(super) use rows::Blocked;

/// Waits that ended and whose wake-up may still come, and how long that is awaited.
const MAX_RECENT: usize = 4_096;
const LATE_NS: u64 = 2_000_000_000;
/// The class where a text could not be read.
const UNKNOWN: &str = "<unknown>";

/// One look at all waits.
#[derive(Default)]
pub struct Waits {
    /// `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    pub sights: Vec<Sight>,
    /// Those they wait for.
    pub standing: HashMap<u32, Standing>,
    /// They wait, but for whom could not be told this time.
    pub unsure: HashSet<u32>,
    /// Those of them for whom there was no time.
    pub left_out: Vec<u32>,
    /// Waits that keep giving no answer.
    pub unread: u64,
}

/// One waiter, as seen in one look.
#[derive(Clone, Debug)]
pub struct Sight {
    pub waiter: u32,
    /// Of its lock group, or itself: blockers are named by theirs.
    pub leader: u32,
    /// `wait_event_info`.
    pub event: u32,
    pub relation: Option<u32>,
    pub mode: &'static str,
    /// Raw, and whether it is cut.
    pub text: Option<(Vec<u8>, bool)>,
    /// When it fell asleep, as far as is known.
    pub since_ns: u64,
    /// What tells this wait from the next one of the same backend: address and tag of the lock, its beginning by the
    /// server's clock, that of the statement.
    pub identity: (u64, (u32, u32), u64, u64),
    /// Those that hold the lock first; true for one that only stands before it in the queue. 0 is a prepared transaction.
    pub blockers: Vec<(u32, bool)>,
}

impl Sight {
    /// Those that the wait is put down to: holders, or else those before it.
    pub fn blamed(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        let held = self.blockers.iter().any(|(_, queued)| !queued);
        self.blockers.iter().copied().filter(move |(_, queued)| !(held && *queued))
    }
}

/// How a blocker stands at a moment.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// None where it is not known, as for one that is gone.
    pub role: Option<Role>,
    pub state: Option<BlockerState>,
    /// Raw, and whether it is cut.
    pub text: Option<(Vec<u8>, bool)>,
    pub running_ns: u64,
    pub idle_ns: u64,
}

/// A wait that another backend ended, by the wake-up.
pub struct Ended {
    pub waiter: u32,
    /// `wait_event_info`.
    pub event: u32,
    pub waited_ns: u64,
    /// `CLOCK_MONOTONIC`.
    pub ended_ns: u64,
    /// The class of the waiter, as it may be shown.
    pub text: Option<String>,
    /// The backend that woke it; none where it was a timer or a signal from elsewhere.
    pub blocker: Option<model::Blocker>,
}

#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Blocking {
    open: HashMap<u32, Open>,
    /// Ended, and not yet in a row: the wake-up may come later than the look that missed the wait.
    recent: VecDeque<Open>,
    /// Texts by backend, as they were and as they are shown: normalising one costs more than all the rest.
    shown: HashMap<u32, Shown>,
}

#[cfg_attr(test, derive(Clone))]
struct Shown {
    raw: (Vec<u8>, bool),
    text: String,
}

/// A wait under way, or ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Open {
    waiter: u32,
    event: u32,
    identity: (u64, (u32, u32), u64, u64),
    relation: Option<u32>,
    mode: Option<String>,
    text: String,
    since_ns: u64,
    last_ns: u64,
    blockers: Vec<Held>,
    cycle: bool,
    /// What earlier stretches of time have of it.
    carried_ns: u64,
    /// By the wake-up: who ended it, and how long it lasted.
    exact: Option<(Option<u32>, u64)>,
    /// It began in an earlier stretch.
    continued: bool,
    /// It is in an account, in full.
    reported: bool,
}

/// One backend in the way, from the first look that saw it there to the last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Held {
    pid: u32,
    since_ns: u64,
    until_ns: u64,
    /// In earlier stretches that were merged with this one.
    before_ns: u64,
    /// In the way since then, in whichever stretch that was.
    first_ns: u64,
    /// For how long of that it was idle in its transaction, and how long that transaction was at the last look.
    idle_ns: u64,
    idle_seen_ns: Option<u64>,
    blocker: model::Blocker,
    chain: Vec<String>,
}

impl Aggregate {
    /// Whether the last look saw this backend wait for a lock.
    pub fn waits_for_lock(&self, pid: u32) -> bool {
        self.blocking.open.contains_key(&pid)
    }

    /// One look at all waits for locks: those that are no longer there have ended.
    pub fn seen(&mut self, waits: Waits) {
        let texts = &self.texts;
        self.blocking.seen(waits, self.major, |text, cut| texts.show(text, cut), &mut self.account.blocked);
    }

    /// A wait ended by a wake-up: the same wait as in the looks where both know it, else one that was too short for them.
    pub fn ended(&mut self, ended: Ended) {
        self.blocking.ended(ended, &mut self.account.blocked);
    }

    /// The account is closed: it has what there is of waits that go on.
    pub(super) fn close_blocking(&mut self) {
        self.blocking.close(&mut self.account.blocked);
    }
}

impl Blocking {
    fn seen(&mut self, waits: Waits, major: u32, show: impl Fn(&[u8], bool) -> String, into: &mut Blocked) {
        let now = waits.now_ns;
        into.left_out += waits.left_out.len() as u64;
        into.unread += waits.unread;
        let texts = waits.sights.iter().map(|sight| (sight.waiter, &sight.text));
        self.show(texts.chain(waits.standing.iter().map(|(pid, standing)| (*pid, &standing.text))), show);

        let gone: Vec<u32> = self.open.keys().copied().filter(|pid| !waits.unsure.contains(pid)).collect();
        let mut before: HashMap<u32, Open> = gone.into_iter().filter_map(|pid| self.open.remove_entry(&pid)).collect();
        let graph = Graph::of(&waits.sights);
        let mut chains: HashMap<u32, Vec<String>> = HashMap::new();
        for sight in &waits.sights {
            let same = |open: &Open| open.identity == sight.identity && open.event == sight.event;
            let known = before.remove(&sight.waiter).and_then(|open| match same(&open) {
                true => Some(open),
                false => {
                    self.recent.push_back(open);
                    None
                }
            });
            let new = || Open {
                waiter: sight.waiter,
                event: sight.event,
                identity: sight.identity,
                relation: sight.relation,
                mode: Some(sight.mode.into()),
                text: self.shown.get(&sight.waiter).map_or(UNKNOWN, |shown| &shown.text).into(),
                since_ns: sight.since_ns,
                last_ns: sight.since_ns,
                ..Open::default()
            };
            let mut open = known.unwrap_or_else(new);
            open.cycle |= graph.is_cycle(sight.leader);
            for (pid, queued) in sight.blamed() {
                let text = |pid| self.shown.get(&pid).map(|shown| shown.text.as_str());
                let event = |event| wait_event::decode(major, event).to_string();
                let chain = chains.entry(pid).or_insert_with(|| graph.chain(pid, event, text));
                let blocker = self.blocker(pid, queued, waits.standing.get(&pid));
                open.held(pid, now, blocker, chain);
            }
            open.last_ns = now;
            self.open.insert(sight.waiter, open);
        }
        self.recent.extend(before.into_values());
        while self.recent.len() > MAX_RECENT || self.recent.front().is_some_and(|open| open.last_ns + LATE_NS < now) {
            if let Some(open) = self.recent.pop_front() {
                into.ended(open);
            }
        }
    }

    fn ended(&mut self, ended: Ended, into: &mut Blocked) {
        let began = ended.ended_ns.saturating_sub(ended.waited_ns);
        // The looks saw a part of it.
        let same = |open: &Open| {
            open.waiter == ended.waiter
                && open.event == ended.event
                && open.exact.is_none()
                && open.last_ns >= began
                && open.since_ns <= ended.ended_ns
        };
        if self.open.get(&ended.waiter).is_some_and(same)
            && let Some(open) = self.open.remove(&ended.waiter)
        {
            self.recent.push_back(open);
        }
        if let Some(open) = self.recent.iter_mut().rev().find(|open| same(open)) {
            open.exact = Some((ended.blocker.map(|blocker| blocker.pid), ended.waited_ns));
            return;
        }
        let Some(blocker) = ended.blocker else { return };
        let open = Open {
            waiter: ended.waiter,
            event: ended.event,
            text: ended.text.unwrap_or_else(|| UNKNOWN.into()),
            since_ns: began,
            last_ns: ended.ended_ns,
            blockers: vec![Held {
                pid: blocker.pid,
                since_ns: began,
                until_ns: ended.ended_ns,
                blocker,
                ..Held::default()
            }],
            ..Open::default()
        };
        into.ended(open);
    }

    /// Normalises the texts that are new, and forgets those of backends that are in no wait.
    fn show<'a>(
        &mut self,
        texts: impl Iterator<Item = (u32, &'a Option<(Vec<u8>, bool)>)>,
        show: impl Fn(&[u8], bool) -> String,
    ) {
        let mut before = std::mem::take(&mut self.shown);
        for (pid, text) in texts {
            let Some(raw) = text else { continue };
            let known = before.remove(&pid).filter(|shown| shown.raw == *raw);
            let new = || Shown { raw: raw.clone(), text: show(&raw.0, raw.1) };
            self.shown.entry(pid).or_insert_with(|| known.unwrap_or_else(new));
        }
    }

    fn blocker(&self, pid: u32, queued: bool, standing: Option<&Standing>) -> model::Blocker {
        let blocker = blocker(pid, queued, standing.unwrap_or(&Standing::default()));
        model::Blocker { query: self.shown.get(&pid).map(|shown| shown.text.clone()), ..blocker }
    }

    /// A stretch of time ends: what there is of waits now is its own, and they go on in the next one.
    fn close(&mut self, into: &mut Blocked) {
        for open in &mut self.recent {
            into.ended(open.clone());
            open.reported = true;
        }
        for open in self.open.values_mut() {
            into.goes_on(open.clone());
            open.carried_ns += open.last_ns.saturating_sub(open.since_ns);
            open.continued = true;
            open.since_ns = open.last_ns;
            // Who was gone at the last look is in the way no more.
            let last_ns = open.last_ns;
            open.blockers.retain(|held| held.until_ns == last_ns);
            open.blockers.iter_mut().for_each(|held| held.since_ns = last_ns);
        }
    }
}

impl Open {
    /// A blocker is in the way at this look.
    fn held(&mut self, pid: u32, now: u64, blocker: model::Blocker, chain: &[String]) {
        // Who was not there at the look before came since; the first ones are taken to have been there all along.
        let since_ns = if self.blockers.is_empty() || self.last_ns == self.since_ns { self.since_ns } else { now };
        let held = match self.blockers.iter_mut().position(|held| held.pid == pid) {
            Some(at) => &mut self.blockers[at],
            None => {
                self.blockers.push(Held { pid, since_ns, first_ns: since_ns, ..Held::default() });
                self.blockers.last_mut().expect("just pushed")
            }
        };
        held.until_ns = now;
        held.stands(blocker);
        if chain.len() >= held.chain.len() {
            held.chain = chain.to_vec();
        }
    }
}

impl Held {
    /// Takes how it stands now. One that was idle in its transaction for most of the time and works at last remains idle: what
    /// was waited for is its client, not its COMMIT.
    fn stands(&mut self, now: model::Blocker) {
        let in_way_ns = self.until_ns.saturating_sub(self.first_ns);
        let idle_ns = now.idle_in_transaction_ns;
        self.idle_ns += match self.idle_seen_ns.replace(idle_ns) {
            // Less than before is that of another transaction.
            Some(before) => idle_ns.checked_sub(before).unwrap_or(idle_ns),
            None => idle_ns.min(in_way_ns.saturating_sub(now.running_ns)),
        };
        if now.state != BlockerState::Active || self.idle_ns * 2 <= in_way_ns {
            self.blocker = now;
            return;
        }
        let known = self.blocker.query.take().filter(|_| self.blocker.state == BlockerState::IdleInTransaction);
        let state = BlockerState::IdleInTransaction.into();
        self.blocker = model::Blocker { state, query: known, running_ns: 0, ..now };
    }
}

fn blocker(pid: u32, queued: bool, standing: &Standing) -> model::Blocker {
    model::Blocker {
        pid,
        role: standing.role.map(Word::from).unwrap_or_default(),
        state: if queued { Some(BlockerState::Waiting) } else { standing.state }.map(Word::from).unwrap_or_default(),
        query: None,
        running_ns: standing.running_ns,
        idle_in_transaction_ns: standing.idle_ns,
    }
}
