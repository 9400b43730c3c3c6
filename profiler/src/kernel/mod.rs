//! Facts about the running kernel.

pub mod btf;
pub mod cgroup;
pub mod features;
