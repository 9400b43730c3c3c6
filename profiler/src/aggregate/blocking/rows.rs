//! The rows of who was waited for, in a stretch of time.

use std::{cmp::Reverse, collections::HashMap};

use serde::{Deserialize, Serialize};

use super::{Held, Open};
use crate::{
    aggregate::pids::Pids,
    postgres::wait_event,
    report::model::{self, Report},
    time::Merge,
};

/// Rows kept apart; waits beyond are counted.
pub(super) const MAX_ROWS: usize = 2_000;
/// Waits that go on at an end, kept apart.
const MAX_CROSSING: usize = 10_000;

/// Waits of a stretch of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::aggregate) struct Blocked {
    /// Of waits that began and ended in it.
    rows: HashMap<Key, Row>,
    /// Those that began before it; what of them was in it.
    from_before: Vec<Open>,
    /// Those that went on at its end, some of which began before it.
    go_on: Vec<Open>,
    pub left_out: u64,
    pub unread: u64,
    /// Waits that found no room of their own.
    pub folded: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    event: u32,
    text: String,
    blocker: u32,
    cycle: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Row {
    pids: Pids,
    count: u64,
    total_ns: u64,
    max_ns: u64,
    waiting: u64,
    last_ns: u64,
    relation: Option<u32>,
    mode: Option<String>,
    blocker: model::Blocker,
    chain: Vec<String>,
}

impl Blocked {
    /// A wait has ended.
    pub(super) fn ended(&mut self, open: Open) {
        if open.reported {
            return;
        }
        if !open.continued {
            self.folded += enter(&mut self.rows, &open, false);
        } else if self.from_before.len() < MAX_CROSSING {
            self.from_before.push(open);
        } else {
            self.folded += 1;
        }
    }

    /// A wait was there at the end.
    pub(super) fn goes_on(&mut self, open: Open) {
        if self.go_on.len() < MAX_CROSSING {
            self.go_on.push(open);
        } else {
            self.folded += 1;
        }
    }

    /// The part before of a wait that began earlier, if that is here.
    fn before(&mut self, later: &Open) -> Option<Open> {
        let same =
            |open: &Open| (open.waiter, open.event, open.identity) == (later.waiter, later.event, later.identity);
        let at = self.go_on.iter().position(same).filter(|_| later.continued)?;
        Some(self.go_on.swap_remove(at))
    }

    pub(in crate::aggregate) fn fill(&self, report: &mut Report, major: u32) {
        let mut rows = self.rows.clone();
        let mut folded = self.folded;
        let ended = self.from_before.iter().map(|open| (open, false));
        for (open, waiting) in ended.chain(self.go_on.iter().map(|open| (open, true))) {
            folded += enter(&mut rows, open, waiting);
        }
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by(|(a, x), (b, y)| (Reverse(x.total_ns), a).cmp(&(Reverse(y.total_ns), b)));
        report.blocking = rows
            .into_iter()
            .map(|(key, row)| {
                let event = wait_event::decode(major, key.event);
                model::Blocking {
                    wait_event_type: event.class.unwrap_or_default().into_owned(),
                    wait_event: event.event.unwrap_or_default().into_owned(),
                    query: key.text,
                    pids: row.pids.model(),
                    count: row.count,
                    total_ns: row.total_ns,
                    max_ns: row.max_ns,
                    blocker: row.blocker,
                    chain: row.chain,
                    cycle: key.cycle,
                    relation: row.relation,
                    mode: row.mode,
                    waiting: row.waiting,
                }
            })
            .collect();
        for (reason, n) in
            [("lock_looks_left_out", self.left_out), ("lock_waits_unread", self.unread), ("blocking_folded", folded)]
        {
            report.coverage.lost.insert(reason.into(), n);
        }
    }
}

impl Merge for Blocked {
    fn merge(&mut self, later: Self) {
        for (key, row) in later.rows {
            if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&key) {
                self.folded += row.count;
                continue;
            }
            self.rows.entry(key).or_default().merge(row);
        }
        let mut joined = |later: Open| match self.before(&later) {
            Some(before) => before.joined(later),
            None => later,
        };
        let ended: Vec<Open> = later.from_before.into_iter().map(&mut joined).collect();
        let go_on: Vec<Open> = later.go_on.into_iter().map(&mut joined).collect();
        // What went on and is not heard of again ended at that moment.
        let unheard = std::mem::take(&mut self.go_on);
        unheard.into_iter().chain(ended).for_each(|open| self.ended(open));
        self.go_on = go_on;
        self.left_out += later.left_out;
        self.unread += later.unread;
        self.folded += later.folded;
    }
}

impl Row {
    fn merge(&mut self, later: Self) {
        self.count += later.count;
        self.total_ns += later.total_ns;
        self.waiting += later.waiting;
        self.pids.merge(&later.pids);
        if later.max_ns >= self.max_ns {
            (self.max_ns, self.relation, self.mode) = (later.max_ns, later.relation, later.mode);
        }
        if later.last_ns >= self.last_ns {
            (self.last_ns, self.blocker) = (later.last_ns, later.blocker);
        }
        if later.chain.len() >= self.chain.len() {
            self.chain = later.chain;
        }
    }
}

impl Open {
    /// The whole of two parts of one wait.
    fn joined(self, mut later: Self) -> Self {
        for before in self.blockers {
            let ns = before.lasted();
            match later.blockers.iter_mut().find(|held| held.pid == before.pid) {
                Some(held) => {
                    held.before_ns += ns;
                    if before.chain.len() > held.chain.len() {
                        held.chain = before.chain;
                    }
                }
                None => {
                    let until_ns = before.until_ns;
                    later.blockers.push(Held { since_ns: until_ns, before_ns: ns, ..before });
                }
            }
        }
        Self { continued: self.continued, cycle: self.cycle | later.cycle, ..later }
    }
}

impl Held {
    fn lasted(&self) -> u64 {
        self.before_ns + self.until_ns.saturating_sub(self.since_ns)
    }
}

/// Adds a wait to the rows; 1 when there was no room.
fn enter(rows: &mut HashMap<Key, Row>, open: &Open, waiting: bool) -> u64 {
    // The wake-up knows the end; the time is that of the one who gave it, else of the one who was in the way longest.
    let ender = open.exact.and_then(|(ender, ns)| {
        let by_name = open.blockers.iter().position(|held| Some(held.pid) == ender);
        let longest = || (0..open.blockers.len()).max_by_key(|i| (open.blockers[*i].lasted(), Reverse(*i)));
        let at = by_name.or_else(longest)?;
        Some((at, ns.saturating_sub(open.carried_ns) + open.blockers[at].before_ns))
    });
    let mut folded = 0;
    for (i, held) in open.blockers.iter().enumerate() {
        let ns = ender.filter(|(ender, _)| *ender == i).map_or(held.lasted(), |(_, ns)| ns);
        let key = Key { event: open.event, text: open.text.clone(), blocker: held.pid, cycle: open.cycle };
        if rows.len() >= MAX_ROWS && !rows.contains_key(&key) {
            folded = 1;
            continue;
        }
        let row = rows.entry(key).or_default();
        row.count += 1;
        row.total_ns += ns;
        row.waiting += waiting as u64;
        row.pids.add(open.waiter);
        if ns >= row.max_ns {
            (row.max_ns, row.relation) = (ns, open.relation);
            row.mode.clone_from(&open.mode);
        }
        if held.until_ns >= row.last_ns {
            row.last_ns = held.until_ns;
            row.blocker = held.blocker.clone();
        }
        if held.chain.len() >= row.chain.len() {
            row.chain = held.chain.clone();
        }
    }
    folded
}
