//! Servers that go, come back, and come: another pid and other addresses, the same cluster; another major version in its
//! place; one that was not there before. What cannot be followed is said.

use std::time::{Duration, Instant};

use super::{Watches, finder::Found, one::Watch};
use crate::{
    instrument::Instrument,
    postgres::cluster::{self, Cluster, Kinship, Process, Version},
    probes::Point,
};

/// How often all processes are looked at, by their executables alone, for a server that is to come back; and how often for
/// any, where all are watched. Those that start are told by a hook: this is for what it missed.
pub(super) const SCAN: Duration = Duration::from_secs(1);
pub(super) const RESCAN: Duration = Duration::from_secs(10);
/// How long a server that ended is waited for, where all are watched.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// What is remembered from the end of a postmaster to its successor.
#[derive(Default)]
pub(super) struct Life {
    gone: Option<Gone>,
    /// The server that is in its place and was told of.
    told: Option<Process>,
}

/// The end of a postmaster.
struct Gone {
    since: Instant,
    /// When it was noticed, in clock ticks after boot.
    ticks: u64,
    /// Another one goes on in its place, with a report of its own.
    succeeded: bool,
    /// The end was in a report.
    reported: bool,
}

impl Watch {
    /// Whether the postmaster is known to be gone.
    pub fn is_gone(&self) -> bool {
        self.life.gone.is_some()
    }

    /// Whether it may come back.
    fn is_expected(&self) -> bool {
        self.life.gone.as_ref().is_some_and(|gone| !gone.succeeded)
    }

    /// Whether it was gone before the interval began: nothing of it is new.
    pub fn is_over(&self) -> bool {
        self.life.gone.as_ref().is_some_and(|gone| gone.reported)
    }

    /// A report was made.
    pub fn reported(&mut self) {
        if let Some(gone) = &mut self.life.gone {
            gone.reported = true;
        }
    }

    /// Whether nothing of it will come any more, where all servers are watched.
    fn is_forgotten(&self) -> bool {
        let gone = self.life.gone.as_ref().filter(|gone| gone.reported);
        gone.is_some_and(|gone| gone.succeeded || gone.since.elapsed() >= FORGOTTEN)
    }

    /// What a server that was found is to this one.
    fn kinship(&self, found: &Cluster) -> Kinship {
        match self.life.gone.as_ref().filter(|gone| !gone.succeeded) {
            Some(gone) => cluster::kinship(&self.server.cluster, gone.ticks, found),
            None => Kinship::None,
        }
    }

    /// Its executable is another file now.
    fn replaced(&self, old: Version, instrument: &Instrument) -> String {
        let new = self.server.cluster.version;
        let versions = if old == new { format!("{new}, as before") } else { format!("{new}, it was {old}") };
        let traps = if is_trapped(instrument) {
            "; the traps are in the old one, so that what they show is missing from here on: start pgstrobe anew"
        } else {
            ""
        };
        format!("the server's executable was replaced (PostgreSQL {versions}){traps}")
    }

    fn say_once(&mut self, of: &Cluster, note: &str) {
        if self.life.told.replace(of.process()) != Some(of.process()) {
            self.notes.push(note.into());
        }
    }
}

/// Whether there are traps in a server's executable.
fn is_trapped(instrument: &Instrument) -> bool {
    let mut hooks = instrument.attached().iter().filter_map(|attached| attached.way).flat_map(|way| way.hooks);
    hooks.any(|hook| matches!(hook.point, Point::Server(_)))
}

impl Watches {
    /// Notices ends of postmasters, finds their successors, and, where all servers are watched, those that are new.
    pub(super) fn follow(&mut self) {
        let ended = self.notice_ends();
        let expects = self.watches.values().any(Watch::is_expected);
        // Its successor may have begun before the end was noticed.
        if ended || expects && self.scan.is_due() || self.all && self.rescan.is_due() {
            self.finder.scan();
        }
        while let Some(found) = self.finder.next() {
            self.arrived(found);
        }
    }

    /// Whether there was an end.
    fn notice_ends(&mut self) -> bool {
        let elapsed = self.elapsed();
        let mut any = false;
        for watch in self.watches.values_mut() {
            if watch.is_gone() || cluster::is_alive(&watch.server.cluster) {
                continue;
            }
            self.clusters.leave(watch.server.cluster.postmaster_pid);
            watch.life.gone =
                Some(Gone { since: Instant::now(), ticks: cluster::now_ticks(), succeeded: false, reported: false });
            watch.notes.push(format!(
                "the postmaster (pid {}) ended {:.1} s into the run",
                watch.server.cluster.postmaster_pid,
                elapsed.as_secs_f64()
            ));
            any = true;
        }
        any
    }

    /// A server was found that was not there before.
    fn arrived(&mut self, found: Found) {
        let new = &found.server.cluster;
        if self.watches.values().any(|watch| !watch.is_gone() && watch.server.cluster.process() == new.process()) {
            return;
        }
        let kin = self.watches.values().map(|watch| (watch.number, watch.kinship(new)));
        let kin: Vec<(u16, Kinship)> = kin.filter(|(_, kinship)| *kinship != Kinship::None).collect();
        let of = |kind| kin.iter().find(|(_, kinship)| *kinship == kind).map(|(number, _)| *number);
        if let Some(number) = of(Kinship::Same) {
            return self.came_back(number, found);
        }
        if self.all {
            self.admit(found);
        } else if let Some(watch) = of(Kinship::InPlace).and_then(|number| self.watches.get_mut(&number)) {
            let note = in_its_place(new);
            watch.say_once(&found.server.cluster, &note);
        }
    }

    /// The cluster of a watch runs again.
    fn came_back(&mut self, number: u16, found: Found) {
        let elapsed = self.elapsed().as_secs_f64();
        let Some(watch) = self.watches.get_mut(&number) else { return };
        let (old, new) = (watch.server.cluster.version, found.server.cluster.version);
        let pid = found.server.cluster.postmaster_pid;
        if old.major != new.major {
            watch.say_once(
                &found.server.cluster,
                &format!(
                    "the cluster came back as PostgreSQL {new} (pid {pid}; it was {old}): what it does from then on is in a \
                     report of its own"
                ),
            );
            if let Some(gone) = &mut watch.life.gone {
                gone.succeeded = true;
            }
            return self.admit(found);
        }
        let replaced = found.server.cluster.binary_id != watch.server.cluster.binary_id;
        let mut server = found.server;
        // What was verified on live processes holds for the version; in its first moments it may have none of them.
        server.fields = watch.server.fields;
        server.notes = std::mem::take(&mut watch.server.notes);
        if let Err(error) = Watch::enter(&mut self.clusters, number, &server) {
            watch.notes.push(format!("the new postmaster cannot be followed: {error}"));
            return;
        }
        watch.server = server;
        watch.life = Life::default();
        watch.restarts += 1;
        watch.adopt_running(&mut self.backends);
        watch.notes.push(format!(
            "a new postmaster (pid {pid}) was found {elapsed:.1} s into the run; what its backends did up to then is missing"
        ));
        if replaced {
            let note = watch.replaced(old, &self.instrument);
            watch.notes.push(note);
        }
    }

    /// Begins to watch a server that was found on the way.
    fn admit(&mut self, found: Found) {
        let elapsed = self.elapsed().as_secs_f64();
        let (pid, port) = (found.server.cluster.postmaster_pid, found.server.cluster.port);
        match self.watch(found.server, found.catalog) {
            Ok(number) => {
                let trapped = is_trapped(&self.instrument);
                let Some(watch) = self.watches.get_mut(&number) else { return };
                watch.notes.push(format!(
                    "the server was found {elapsed:.1} s into the run (postmaster pid {pid}); what it did before is missing"
                ));
                if trapped {
                    watch.notes.push(
                        "its executable has no traps, which are planted when a profile begins: what they show is missing"
                            .into(),
                    );
                }
            }
            Err(error) => self.notes.push(format!(
                "the server with the postmaster {pid} (port {}) is not profiled: {error}",
                port.map_or("unknown".into(), |port| port.to_string())
            )),
        }
    }

    /// Drops the servers of which nothing will come any more. Their reports were made.
    pub(super) fn forget(&mut self) {
        if self.watches.len() > 1 || self.all {
            self.watches.retain(|_, watch| !watch.is_forgotten());
        }
    }
}

fn in_its_place(other: &Cluster) -> String {
    format!(
        "another cluster came in its place: PostgreSQL {} (pid {}), port {}, data directory {}; what it does is \
         missing: start pgstrobe anew for it",
        other.version,
        other.postmaster_pid,
        other.port.map_or("unknown".into(), |port| port.to_string()),
        other.data_directory.display()
    )
}
