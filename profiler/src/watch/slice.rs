//! What a server and the host did in a stretch of time, all topics: whatever is reported is a function of slices and of names.
//!
//! Slices of one server merge, in the order of time, and so do those of the host: a report of an hour is that of its minutes.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{
    host::DeviceCut,
    memory,
    storage::{aio, files, wal},
};
use crate::{
    aggregate::Account,
    instrument,
    kernel::host_cpu::Stretch,
    time::{Merge, Span},
};

/// Of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slice {
    pub span: Span,
    /// The same moment as the beginning of the span, by the clock of people.
    pub began_at: SystemTime,
    pub account: Account,
    pub files: files::Cut,
    pub memory: memory::Cut,
    pub wal: wal::Cut,
    pub aio: aio::Cut,
}

impl Slice {
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.span.to_ns.saturating_sub(self.span.from_ns))
    }
}

impl Merge for Slice {
    fn merge(&mut self, later: Self) {
        self.span.merge(later.span);
        self.account.merge(later.account);
        self.files.merge(later.files);
        self.memory.merge(later.memory);
        self.wal.merge(later.wal);
        self.aio.merge(later.aio);
    }
}

/// Of the host, and of pgstrobe on it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct HostSlice {
    pub cpu: Stretch,
    pub devices: DeviceCut,
    /// What was lost, and what measuring cost.
    pub coverage: instrument::Cut,
    /// Statements of all servers, for which the programs ran.
    pub statements: u64,
}

impl Merge for HostSlice {
    fn merge(&mut self, later: Self) {
        self.cpu.merge(later.cpu);
        self.devices.merge(later.devices);
        self.coverage.merge(later.coverage);
        self.statements += later.statements;
    }
}

/// All that happened in one stretch of time.
pub(super) struct Cut {
    pub host: HostSlice,
    /// By the number of the server.
    pub servers: Vec<(u16, Slice)>,
}
