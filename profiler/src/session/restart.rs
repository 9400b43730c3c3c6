//! A postmaster that goes away and comes back: another pid and other addresses, the same cluster. What cannot be followed,
//! another major version or another cluster in its place, is said.

use super::Session;
use crate::{
    postgres::{
        cluster::{self, Cluster, Successor, Version},
        server::Server,
    },
    probes::Point,
};

/// What is remembered from the end of a postmaster to its successor.
#[derive(Default)]
pub(super) struct Following {
    /// When the end was noticed, in clock ticks after boot; none while the postmaster lives.
    ended_ticks: Option<u64>,
    /// The postmaster that is in its place and was told of.
    told: Option<(u32, u64)>,
}

impl Session {
    /// Notices the end of the postmaster, and finds its successor.
    pub(super) fn follow_postmaster(&mut self) {
        if self.gone() {
            self.look_for_successor();
        } else if !cluster::is_alive(&self.server.cluster) {
            self.clusters.leave(self.server.cluster.postmaster_pid);
            self.following = Following { ended_ticks: Some(cluster::now_ticks()), told: None };
            self.notes.push(format!(
                "the postmaster (pid {}) ended {:.1} s into the run",
                self.server.cluster.postmaster_pid,
                self.elapsed().as_secs_f64()
            ));
        }
    }

    /// Whether the postmaster is known to be gone.
    pub(super) fn gone(&self) -> bool {
        self.following.ended_ticks.is_some()
    }

    fn look_for_successor(&mut self) {
        let next = match cluster::find_again(&self.server.cluster, self.following.ended_ticks.unwrap_or_default()) {
            Some(Successor::Same(next)) => next,
            Some(Successor::Other(other)) => return self.say_once(&other, &in_its_place(&other)),
            None => return,
        };
        let (old, new) = (self.server.cluster.version, next.version);
        if old.major != new.major {
            return self.say_once(
                &next,
                &format!(
                    "the cluster came back as PostgreSQL {new} (pid {}; it was {old}): its layout differs, and what it does is \
                     missing: start pgstrobe anew for it",
                    next.postmaster_pid
                ),
            );
        }
        let replaced = next.binary_id != self.server.cluster.binary_id;
        let pid = next.postmaster_pid;
        let mut server = match Server::open(next) {
            Ok(server) => server,
            // It may be in its first moments: the next tick tries again.
            Err(error) => return tracing::debug!("successor {pid}: {error}"),
        };
        // They are proved by live backends, of which it may have none yet; the same major version has the same.
        server.fields = self.server.fields;
        server.notes = std::mem::take(&mut self.server.notes);
        self.server = server;
        self.restarts += 1;
        self.following.ended_ticks = None;
        if let Err(error) = self.clusters.follow(self.number, self.server.for_kernel(), pid) {
            self.notes.push(format!("the new postmaster cannot be followed: {error}"));
            return;
        }
        self.adopt_running();
        self.notes.push(format!(
            "a new postmaster (pid {pid}) was found {:.1} s into the run; what its backends did up to {} ms before is \
             missing",
            self.elapsed().as_secs_f64(),
            self.config.drain.as_millis()
        ));
        if replaced {
            self.notes.push(self.replaced(old));
        }
    }

    /// Its executable is another file now.
    fn replaced(&self, old: Version) -> String {
        let new = self.server.cluster.version;
        let versions = if old == new { format!("{new}, as before") } else { format!("{new}, it was {old}") };
        let hooks = self.instrument.attached().iter().filter_map(|attached| attached.way).flat_map(|way| way.hooks);
        let trapped = hooks.into_iter().any(|hook| matches!(hook.point, Point::Server(_)));
        let traps = if trapped {
            "; the traps are in the old one, so that what they show is missing from here on: start pgstrobe anew"
        } else {
            ""
        };
        format!("the server's executable was replaced (PostgreSQL {versions}){traps}")
    }

    fn say_once(&mut self, of: &Cluster, note: &str) {
        let id = (of.postmaster_pid, of.start_time_ticks);
        if self.following.told.replace(id) != Some(id) {
            self.notes.push(note.into());
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
