//! Servers under profile: one [`Watch`] each, and the host with the programs in the kernel, once for all of them.

mod adopt;
mod age;
mod coverage;
mod drain;
mod finder;
mod follow;
mod host;
mod locks;
mod memory;
mod names;
mod numbers;
mod one;
mod report;
mod slice;
mod start;
mod storage;
mod trace;

use std::{
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use pgstrobe_common::files::{FileIo, FileKey};

use finder::Finder;
use host::HostMeasures;
use numbers::Numbers;
use one::Watch;
pub use start::check_privilege;
pub use trace::TRACE_LEVEL;

use crate::{
    cause::Stacks,
    config::Config,
    instrument::{Backends, Clusters, Instrument},
    maps::Map,
    pace::Every,
    postgres::cluster::Cluster,
};

/// Why a profile cannot begin: privilege or kernel (exit code 4).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A profile under way. Nothing is pinned: dropping it, or the death of the process, detaches everything.
pub struct Watches {
    instrument: Instrument,
    backends: Backends,
    clusters: Clusters,
    numbers: Numbers,
    /// Reads and writes of the files of all servers.
    files: Map<FileKey, FileIo>,
    stacks: Stacks,
    host: HostMeasures,
    /// By the number of the server.
    watches: BTreeMap<u16, Watch>,
    /// Servers that start meanwhile are watched too.
    all: bool,
    finder: Finder,
    scan: Every,
    rescan: Every,
    forget: Every,
    age: Every,
    config: Rc<Config>,
    started: Instant,
    /// Of the interval.
    began: Instant,
    began_at: SystemTime,
    /// Of no server that is watched.
    notes: Vec<String>,
}

impl Watches {
    /// The servers that are watched and run.
    pub fn servers(&self) -> impl Iterator<Item = &Cluster> {
        self.watches.values().filter(|watch| !watch.is_gone()).map(|watch| &watch.server.cluster)
    }

    /// What is to be done regularly: drain, look after the postmasters, learn names, see who waits for whom, sample the
    /// cost.
    pub fn tick(&mut self) {
        self.drain_all();
        self.follow();
        let postmasters = self.postmasters();
        let Self { watches, backends, files, clusters, host, instrument, .. } = self;
        for watch in watches.values_mut() {
            watch.tick(backends, files, clusters);
        }
        host.tick(&postmasters, || {
            let of = |watch: &Watch| {
                let number = watch.number;
                watch.aggregate.roles_by_pid().into_iter().map(move |(pid, role)| (pid, (number, role)))
            };
            watches.values().flat_map(of).collect()
        });
        instrument.tick();
        self.age();
    }

    /// Takes in the records of this time, and what is to be looked at before.
    fn drain_all(&mut self) {
        for watch in self.watches.values_mut() {
            watch.storage.wal.look(&watch.server, &mut watch.aggregate);
        }
        self.drain();
    }

    /// The postmasters that run, by the number of their server.
    fn postmasters(&self) -> Vec<(u16, u32)> {
        let live = self.watches.values().filter(|watch| !watch.is_gone());
        live.map(|watch| (watch.number, watch.server.cluster.postmaster_pid)).collect()
    }

    /// How often [`Watches::tick`] is to be called.
    pub fn drain_period(&self) -> Duration {
        self.config.drain
    }

    /// Statements counted since the last report.
    pub fn statements(&self) -> u64 {
        self.watches.values().map(|watch| watch.aggregate.statements()).sum()
    }

    /// Time since the profile began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
