//! One file a hook or family of hooks: where programs begin, and nothing else.
mod block;
mod entry;
mod files;
mod memory;
mod process;
mod sampler;
mod schedule;
mod socket;
mod socket_fexit;
mod syscalls;
mod writeback;
