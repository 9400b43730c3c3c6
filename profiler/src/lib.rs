//! pgstrobe: where a PostgreSQL server's time went, and who is to blame.
//!
//! Dependencies point one way: `report` and `findings` know nothing of aya; `postgres` and `kernel` hold facts and know
//! nothing of reports; only `instrument` knows aya.

pub mod aggregate;
pub mod cause;
pub mod cli;
pub mod config;
#[cfg(test)]
mod docs;
pub mod doctor;
pub mod findings;
pub mod hist;
pub mod instrument;
pub mod kernel;
pub mod ledger;
pub mod maps;
pub mod pace;
pub mod page;
pub mod postgres;
pub mod probes;
pub mod report;
pub mod run;
pub mod say;
pub mod ticker;
pub mod time;
pub mod vocabulary;
pub mod watch;
pub mod words;
