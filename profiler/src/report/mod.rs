//! Reports: one model, one file a format.
//!
//! [`model`] is the report as plain data and the contract of the JSON; every format is a function of it, and a new one
//! is a file here and a line in [`output::FORMATS`]. What people read is made of [`pages`], which say what is shown and in
//! which order; [`text`] writes them for a terminal. [`trace`] is what is written as it comes.

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod contract;
pub mod document;
#[doc(hidden)]
pub mod fixture;
pub mod json;
pub mod model;
pub mod output;
pub mod pages;
pub(crate) mod phrases;
#[cfg(test)]
mod properties;
pub mod text;
pub mod trace;
