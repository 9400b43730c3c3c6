//! One value of a page, with its type: renderers sort, align and compare by it, and agree on its words.

use std::fmt;

use crate::words::{bytes, count, duration, percent, rate};

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nanoseconds.
    Duration(u64),
    /// Nanoseconds of what began before it was looked at, hence took longer.
    LongerThan(u64),
    /// Nanoseconds of what is not over.
    SoFar(u64),
    /// Nanoseconds from the beginning of the profile, negative before it.
    Moment(i64),
    Bytes(u64),
    Count(u64),
    /// A number that is a name: a pid, a port.
    Id(u64),
    /// 0 to 1.
    Share(f64),
    /// So many a second, or on average at a time.
    Rate(f64),
    /// What something is called by somebody else: a role, a user, a file.
    Name(String),
    /// SQL, without its literals.
    Code(String),
    /// Words.
    Text(String),
    /// There is no such value, or it is not known.
    Missing,
    /// Nothing to say here: zero among many zeros, or the same as in the row above.
    Blank,
}

impl Cell {
    /// A mean of durations.
    pub fn mean(ns: f64) -> Self {
        Cell::Duration(if ns.is_finite() { ns.max(0.0).round() as u64 } else { 0 })
    }

    pub fn name(name: impl Into<String>) -> Self {
        Cell::Name(name.into())
    }

    /// A name, nothing where there is none.
    pub fn name_or_blank(name: Option<&String>) -> Self {
        name.map_or(Cell::Blank, |name| Cell::Name(name.clone()))
    }

    pub fn code(text: impl Into<String>) -> Self {
        Cell::Code(text.into())
    }

    pub fn text(text: impl Into<String>) -> Self {
        Cell::Text(text.into())
    }

    /// The value, [`Cell::Missing`] where it is zero.
    pub fn or_missing(value: u64, of: fn(u64) -> Self) -> Self {
        if value == 0 { Cell::Missing } else { of(value) }
    }

    /// The value, [`Cell::Blank`] where it is zero.
    pub fn or_blank(value: u64, of: fn(u64) -> Self) -> Self {
        if value == 0 { Cell::Blank } else { of(value) }
    }

    /// The cell if `there`, else [`Cell::Missing`].
    pub fn when(self, there: bool) -> Self {
        if there { self } else { Cell::Missing }
    }

    /// It says nothing.
    pub fn is_silent(&self) -> bool {
        match self {
            Cell::Missing | Cell::Blank => true,
            Cell::Name(text) | Cell::Code(text) | Cell::Text(text) => matches!(text.as_str(), "" | "-"),
            _ => false,
        }
    }
}

/// The value in words, with its unit.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Cell::Duration(ns) => f.write_str(&duration(*ns)),
            Cell::LongerThan(ns) => write!(f, "> {}", duration(*ns)),
            Cell::SoFar(ns) => write!(f, "{} so far", duration(*ns)),
            Cell::Moment(ns) if *ns < 0 => write!(f, "-{}", duration(ns.unsigned_abs())),
            Cell::Moment(ns) => f.write_str(&duration(ns.unsigned_abs())),
            Cell::Bytes(n) => f.write_str(&bytes(*n)),
            Cell::Count(n) => f.write_str(&count(*n)),
            Cell::Id(n) => write!(f, "{n}"),
            Cell::Share(share) => f.write_str(&percent(*share)),
            Cell::Rate(value) => f.write_str(&rate(*value)),
            Cell::Name(text) | Cell::Code(text) | Cell::Text(text) => f.write_str(text),
            Cell::Missing => f.write_str("-"),
            Cell::Blank => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_words() {
        for (cell, words) in [
            (Cell::Duration(1_500_000), "1.50 ms"),
            (Cell::LongerThan(10_000_000_000), "> 10.0 s"),
            (Cell::SoFar(2_000), "2.00 µs so far"),
            (Cell::Moment(-3_000), "-3.00 µs"),
            (Cell::Moment(3_000), "3.00 µs"),
            (Cell::Bytes(8192), "8.00 KiB"),
            (Cell::Count(12_345), "12,345"),
            (Cell::Id(12_345), "12345"),
            (Cell::Share(0.5), "50.0 %"),
            (Cell::Rate(1.234), "1.23"),
            (Cell::mean(f64::NAN), "0 ns"),
            (Cell::or_missing(0, Cell::Count), "-"),
            (Cell::or_blank(0, Cell::Bytes), ""),
            (Cell::Count(1).when(false), "-"),
        ] {
            assert_eq!(cell.to_string(), words);
        }
    }

    /// A share in tenths of a percent, which are made to add up, keeps its digits.
    #[test]
    fn tenths_of_a_percent_are_exact() {
        for tenths in 0..=1000u32 {
            let words = Cell::Share(f64::from(tenths) / 1000.0).to_string();
            assert_eq!(words, format!("{}.{} %", tenths / 10, tenths % 10));
        }
    }
}
