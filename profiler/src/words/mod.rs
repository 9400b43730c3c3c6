//! The words of all outputs: numbers with their units, and lines that fit and do no harm.

mod lines;
mod numbers;

pub(crate) use lines::is_harmful;
pub use lines::{TIE, clean, fit, fit_end, short, tie, width, wrap};
pub use numbers::{bytes, count, duration, duration_f, percent, rate, tenths};
