//! What a reader is shown, before it is text: sections of lines, tables and pictures, whose values have types.
//!
//! The pages of a report ([`crate::report::pages`]) say what is shown and in which order; a renderer says how it looks.
//! So a terminal, a file or a browser show the same sections, and no page knows how wide a line is.

mod cell;
mod line;
mod table;

pub use cell::Cell;
pub use line::{Item, Line, Tone};
pub use table::{Align, Column, Cut, Row, Table};

/// All that is shown of one report, in the order of importance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub sections: Vec<Section>,
}

/// Where a section stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// The first screen: the answer.
    First,
    /// Behind it: the evidence.
    #[default]
    Detail,
}

/// What belongs together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// Empty where the first line or the last column of the table says what it is.
    pub heading: String,
    pub depth: Depth,
    pub blocks: Vec<Block>,
}

/// A part of a section.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Line(Line),
    Table(Table),
    /// Things that take several lines each; `spaced` ones stand apart.
    Entries {
        entries: Vec<Entry>,
        spaced: bool,
    },
    Picture(Picture),
    Tally(Tally),
    More(More),
}

/// One thing of several lines: a statement class, a wait, a finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub title: Line,
    pub lines: Vec<Line>,
}

/// A histogram of powers of two.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Of the edges, such as `usecs`.
    pub unit: &'static str,
    pub bars: Vec<Bar>,
}

/// Values from `from` to `to`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    pub from: u64,
    pub to: u64,
    pub count: u64,
}

/// A sum and what it is made of, the largest first: where there is no room, those that are zero are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    pub label: &'static str,
    pub total: u64,
    pub parts: Vec<(String, u64)>,
    /// What is said where there are no parts.
    pub none: &'static str,
}

/// Rows that were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct More {
    pub count: u64,
    /// Such as `backends`.
    pub of: &'static str,
}

impl Section {
    /// A section behind the first screen.
    pub fn new(heading: impl Into<String>) -> Self {
        Section { heading: heading.into(), ..Section::default() }
    }

    /// A part of the first screen, without a heading.
    pub fn first() -> Self {
        Section { depth: Depth::First, ..Section::default() }
    }

    pub fn line(&mut self, line: Line) {
        self.blocks.push(Block::Line(line));
    }

    pub fn table(&mut self, table: Table) {
        self.blocks.push(Block::Table(table));
    }

    /// Says how many rows are left out of `all`, of which `shown` are shown; nothing if there are none.
    pub fn more(&mut self, all: usize, shown: usize, of: &'static str) {
        if all > shown {
            self.blocks.push(Block::More(More { count: (all - shown) as u64, of }));
        }
    }
}
