//! A table: rows of values under headings, and which columns give way where there is little room.

use super::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// How a column takes less room than its longest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Never,
    /// The beginnings of its values stay.
    End,
    /// The ends stay: of a path they say more.
    Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub heading: &'static str,
    pub align: Align,
    /// 0 stays always; of the others the highest is left out first.
    pub leave: u8,
    pub cut: Cut,
    /// Columns below which it is not cut before others are left out.
    pub least: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub cells: Vec<Cell>,
    /// 0, or deeper for what the row above is made of.
    pub level: usize,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

/// The least that a value which may be cut has before another column is left out for it.
const LEAST: usize = 16;
/// The same of a column that matters more than those.
const MAIN: usize = 32;

impl Table {
    fn column(mut self, heading: &'static str, align: Align, leave: u8, cut: Cut, least: usize) -> Self {
        self.columns.push(Column { heading, align, leave, cut, least });
        self
    }

    /// A column of numbers.
    pub fn number(self, heading: &'static str, leave: u8) -> Self {
        self.column(heading, Align::Right, leave, Cut::Never, LEAST)
    }

    /// A column of short names.
    pub fn name(self, heading: &'static str, leave: u8) -> Self {
        self.column(heading, Align::Left, leave, Cut::Never, LEAST)
    }

    /// A column of long text, which takes what is left.
    pub fn text(self, heading: &'static str, leave: u8) -> Self {
        self.column(heading, Align::Left, leave, Cut::End, LEAST)
    }

    /// A column of long text that matters more than the columns which may be left out.
    pub fn main_text(self, heading: &'static str) -> Self {
        self.column(heading, Align::Left, 0, Cut::End, MAIN)
    }

    /// A column of file names, of which the ends stay.
    pub fn path(self, heading: &'static str, leave: u8) -> Self {
        self.column(heading, Align::Left, leave, Cut::Start, LEAST)
    }

    /// Names that matter more than the columns which may be left out; of longer ones the ends stay.
    pub fn main_path(self, heading: &'static str) -> Self {
        self.column(heading, Align::Left, 0, Cut::Start, MAIN)
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.child(0, cells);
    }

    /// A part of what the row above says.
    pub fn child(&mut self, level: usize, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(Row { cells, level });
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// There are rows, and none says anything in this column.
    pub fn is_silent(&self, column: usize) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.cells[column].is_silent())
    }
}
