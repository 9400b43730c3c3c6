//! What the project's tasks and its live tests share: children that cannot outlive their owner and throw-away clusters.

pub mod children;
pub mod cluster;
pub mod ebpf;
