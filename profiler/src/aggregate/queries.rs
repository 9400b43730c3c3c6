//! Statement classes, per database and user: a list, so that whoever knows a class's place needs no look-up. A backend
//! mostly repeats itself, hence it remembers the place of its last statement.

use std::collections::BTreeMap;

use pgstrobe_common::{
    faults::Faults,
    record::{Finished, STATEMENT_QUERY_ID},
};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{
    MAX_CLASSES,
    io::{self, Io},
    texts::{self, Texts},
};
use crate::{hist::Histogram, ledger::Ledger};

/// Text and owner of a class.
pub(super) type ClassKey = (u32, u32);

/// What statements have in common, of a class or of a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Class {
    pub latency: Histogram,
    pub errors: u64,
    pub sent_bytes: u64,
    pub ledger: Ledger,
    /// Wait events it was seen under on a CPU.
    pub samples: BTreeMap<u32, u64>,
}

impl Class {
    pub fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.errors += other.errors;
        self.sent_bytes += other.sent_bytes;
        self.ledger.merge(&other.ledger);
        for (event, n) in &other.samples {
            *self.samples.entry(*event).or_default() += n;
        }
    }
}

/// A statement class.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Query {
    pub class: Class,
    /// Parallel workers that ended for its statements.
    pub worker_processes: u64,
    /// Their time from fork to exit.
    pub workers: Ledger,
    /// What its statements and their workers read and wrote; none without any.
    pub io: Option<Box<Io>>,
    /// Page faults of its statements and their workers.
    pub faults: Faults,
    /// Of its statements, those during checkpoints.
    pub during: Option<Box<Histogram>>,
}

impl Query {
    fn add(&mut self, other: &Self) {
        self.class.merge(&other.class);
        self.worker_processes += other.worker_processes;
        self.workers.merge(&other.workers);
        io::merge(&mut self.io, &other.io);
        self.faults.add(other.faults);
        if let Some(during) = &other.during {
            self.during.get_or_insert_default().merge(during);
        }
    }
}

/// Where a class is in the list.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    at: u32,
    pub class: ClassKey,
    /// It found no room of its own.
    pub folded: bool,
}

/// What a backend's last statement was asked for by, and the place found; its `asked` is none until it has one.
#[derive(Clone, Copy, Default)]
pub(super) struct LastClass {
    asked: Option<(u64, u32, u32, u32)>,
    place: Place,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Queries {
    list: Vec<(ClassKey, Query)>,
    #[serde(skip)]
    places: FxHashMap<ClassKey, u32>,
    /// Changes whenever a remembered place may be wrong.
    #[serde(skip)]
    epoch: u32,
}

/// Whether two statements are of one class, if of one backend.
pub(super) fn alike(a: &Finished, b: &Finished) -> bool {
    a.class_key == b.class_key && (a.flags ^ b.flags) & STATEMENT_QUERY_ID == 0
}

impl Queries {
    /// The class of a statement, entered if it is new.
    #[inline]
    pub fn place(&mut self, owner: u32, last: &mut LastClass, statement: &Finished, texts: &mut Texts) -> Place {
        let query_id = statement.flags & STATEMENT_QUERY_ID;
        let asked = Some((statement.class_key, query_id, owner, self.epoch));
        if last.asked != asked {
            let text = texts.class(statement.class_key, query_id != 0);
            *last = LastClass { asked, place: self.enter((text, owner)) };
        }
        last.place
    }

    fn enter(&mut self, key: ClassKey) -> Place {
        if let Some(&at) = self.places.get(&key) {
            return Place { at, class: key, folded: false };
        }
        if self.list.len() < MAX_CLASSES {
            return Place { at: self.push(key), class: key, folded: false };
        }
        let class = (texts::OTHER, 0);
        let known = self.places.get(&class).copied();
        Place { at: known.unwrap_or_else(|| self.push(class)), class, folded: true }
    }

    fn push(&mut self, key: ClassKey) -> u32 {
        let at = self.list.len() as u32;
        self.list.push((key, Query::default()));
        self.places.insert(key, at);
        at
    }

    /// A place that was given since the last change.
    #[inline]
    pub fn at(&mut self, place: Place) -> &mut Query {
        &mut self.list[place.at as usize].1
    }

    pub fn iter(&self) -> impl Iterator<Item = (ClassKey, &Query)> {
        self.list.iter().map(|(key, query)| (*key, query))
    }

    /// Texts have changed: a key may be of another class now.
    pub fn texts_changed(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Those of the next stretch of time, in which no place of this one holds.
    pub fn next(&self) -> Self {
        Self { epoch: self.epoch.wrapping_add(1), ..Self::default() }
    }

    /// Adds those of a later stretch; how many statements found no room in a class of their own.
    pub fn merge_all(&mut self, later: Self) -> u64 {
        if self.places.len() != self.list.len() {
            self.places = self.list.iter().enumerate().map(|(at, (key, _))| (*key, at as u32)).collect();
        }
        let mut folded = 0;
        for (key, query) in &later.list {
            let place = self.enter(*key);
            if place.folded {
                folded += query.class.latency.count();
            }
            self.at(place).add(query);
        }
        folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_place_ends_with_a_text_and_with_an_interval() {
        let (mut queries, mut texts, mut last) = (Queries::default(), Texts::new(false), LastClass::default());
        let statement = Finished { class_key: 7, ..Finished::default() };
        let mut place = |queries: &mut Queries, texts: &mut Texts| queries.place(3, &mut last, &statement, texts).class;
        assert_eq!(place(&mut queries, &mut texts), (texts::UNKNOWN, 3));
        texts.learn(7, false, b"SELECT 1", false, false);
        queries.texts_changed();
        let class = place(&mut queries, &mut texts);
        assert_ne!(class.0, texts::UNKNOWN);
        queries = queries.next();
        assert_eq!(place(&mut queries, &mut texts), class);
        assert_eq!(queries.iter().count(), 1);
    }

    #[test]
    fn what_finds_no_room_is_folded_and_says_so() {
        let mut queries = Queries::default();
        assert!((0..MAX_CLASSES as u32).all(|text| !queries.enter((text + 2, 0)).folded));
        let (first, second) = (queries.enter((2, 1)), queries.enter((3, 1)));
        assert!(first.folded && second.folded && first.at == second.at);
        assert!(!queries.enter((2, 0)).folded, "those known stay apart");
        assert_eq!(queries.iter().count(), MAX_CLASSES + 1);
    }
}
