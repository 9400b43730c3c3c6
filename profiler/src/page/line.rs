//! A line of a page: what it is about, and what it says, in words or in values side by side.

use std::borrow::Cow;

use super::Cell;

/// How loud something is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    /// A title.
    Strong,
    /// What may be passed over.
    Faint,
    Warning,
    Critical,
}

/// A value and what it is of: `p50 1.23 ms`. Without a name it stands alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub name: &'static str,
    pub value: Cell,
}

impl Item {
    pub fn new(name: &'static str, value: Cell) -> Self {
        Item { name, value }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Item { name: "", value: Cell::Text(text.into()) }
    }
}

impl From<Cell> for Item {
    fn from(value: Cell) -> Self {
        Item { name: "", value }
    }
}

/// A sentence, or items side by side, behind a label. Where lines have a width it goes on below.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub tone: Tone,
    /// What it is about, such as `load`; may be empty.
    pub label: Cow<'static, str>,
    pub items: Vec<Item>,
    /// Columns before the label.
    pub indent: usize,
    /// Column at which the items begin after a short label, and at which the lines below begin.
    pub hang: usize,
    /// Lines it may take; the last one is cut. At least one.
    pub most: usize,
}

impl Line {
    pub fn new(items: Vec<Item>) -> Self {
        Line { items, most: 1, ..Line::default() }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Line::new(vec![Item::text(text)])
    }

    pub fn tone(self, tone: Tone) -> Self {
        Line { tone, ..self }
    }

    pub fn label(self, label: impl Into<Cow<'static, str>>) -> Self {
        Line { label: label.into(), ..self }
    }

    pub fn indent(self, indent: usize) -> Self {
        Line { indent, ..self }
    }

    /// Goes on at the column `hang`, for at most `most` lines.
    pub fn wrap(self, hang: usize, most: usize) -> Self {
        Line { hang, most, ..self }
    }
}
