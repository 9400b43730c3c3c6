//! What the project's tasks and its live tests share: children that cannot outlive their owner, packages
//! of other suites and versions, and throw-away clusters of the servers in them.

pub mod children;
pub mod cluster;
pub mod ebpf;
pub mod loop_disk;
pub mod packages;
pub mod root;
pub mod servers;
pub mod source_build;
pub mod tracepoints;
