//! Facts about Postgres servers: which ones run, what their executables and memory say, and what their processes, files,
//! wait events and statements are called. Nothing here attaches a program or knows of a report.

pub mod activity;
pub mod aio;
pub mod backend;
pub mod binary;
pub mod catalog;
pub mod checkpoint;
pub mod cluster;
pub mod control;
pub mod layout;
pub mod locks;
pub mod memory;
pub mod patience;
pub mod places;
pub mod relation;
pub mod server;
pub mod sql;
mod status_pointer;
pub mod wait_event;
pub mod wal_usage;
