//! Facts about the running kernel.

pub mod btf;
pub mod cgroup;
pub mod cgroup_names;
pub mod device;
pub mod faults;
pub mod features;
pub mod host_cpu;
pub mod memcg;
pub mod symbols;
pub mod vm;
