//! Validated settings of a profile.

use std::{path::PathBuf, time::Duration};

use crate::{
    kernel::device::Disk,
    postgres::{catalog::Dsn, cluster::Choice},
    probes::Level,
};

/// Where statement boundaries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Boundary {
    /// What crosses the client's socket: no trap in Postgres.
    Socket,
    /// Entries of the server's message functions: splits pipelines, and costs a trap each.
    Uprobe,
}

impl Boundary {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Uprobe => "uprobe",
        }
    }
}

/// Block requests one by one, in place of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Those of others as well.
    pub all: bool,
    /// Only those of this disk.
    pub device: Option<Disk>,
    /// Only those that took at least so long, from the insertion or the issue to the end: whole microseconds, below 2³².
    pub least: Duration,
}

/// What to profile and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which servers.
    pub choice: Choice,
    /// All there are, and those that start meanwhile.
    pub all: bool,
    pub level: Level,
    pub boundary: Boundary,
    pub show_literals: bool,
    /// Times every run of every program, which costs more than sampling it.
    pub bpf_stats: bool,
    /// Programs that do nothing, to measure the floor of the cost.
    pub empty_programs: bool,
    /// Size of the ring buffer in bytes: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Another source of the kernel's types than /sys/kernel/btf/vmlinux.
    pub btf: Option<PathBuf>,
    /// Only this way of probes that have several.
    pub only_way: Option<String>,
    /// Where to ask for the names of relations that the server's files do not tell.
    pub dsn: Option<Dsn>,
    pub trace: Option<Trace>,
    /// How often the ring buffer is drained.
    pub drain: Duration,
}
