//! The kernel-to-user interface of pgstrobe.
//!
//! Everything that crosses the boundary between the eBPF programs and the loader is defined here once, as plain
//! integers in `repr(C)` structs whose sizes are asserted. Enumerations are decoded at the edge, by checked
//! conversions, never transmuted.
#![no_std]

pub mod aio;
pub mod block;
pub mod cluster;
pub mod context;
pub mod fields;
pub mod files;
pub mod hits;
pub mod ledger;
pub mod lost;
pub mod perf;
pub mod reclaim;
pub mod record;
pub mod shape;
pub mod state;
pub mod trace;
pub mod writeback;
