//! A postmaster that goes away and comes back: another pid and other addresses, the same cluster.

use pgstrobe_common::state::Target;

use super::Session;
use crate::postgres::{cluster, server::Server};

impl Session {
    /// Notices the end of the postmaster, and finds its successor.
    pub(super) fn follow_postmaster(&mut self) {
        if self.gone() {
            self.look_for_successor();
        } else if !cluster::is_alive(&self.server.cluster) {
            let _ = self.target.set(0, Target::default(), 0);
            self.notes.push(format!(
                "the postmaster (pid {}) ended {:.1} s into the profile",
                self.server.cluster.postmaster_pid,
                self.elapsed().as_secs_f64()
            ));
        }
    }

    /// Whether the postmaster is known to be gone.
    fn gone(&self) -> bool {
        self.target.get(&0, 0).is_ok_and(|target| target.postmaster == 0)
    }

    fn look_for_successor(&mut self) {
        let Some(next) = cluster::find_again(&self.server.cluster) else { return };
        let (old, new) = (self.server.cluster.version, next.version);
        if old.major != new.major {
            self.notes.push(format!(
                "the cluster came back as PostgreSQL {new} (it was {old}): its layout differs, start a new profile for it"
            ));
            // Keep looking away: the same successor would be found again.
            self.server.cluster = next;
            return;
        }
        let pid = next.postmaster_pid;
        let mut server = match Server::open(next) {
            Ok(server) => server,
            // It may be in its first moments: the next tick tries again.
            Err(error) => return tracing::debug!("successor {pid}: {error}"),
        };
        // The offsets were fixed at the load, and the same major version has the same.
        server.fields = self.server.fields;
        server.notes = std::mem::take(&mut self.server.notes);
        self.server = server;
        self.restarts += 1;
        if let Err(error) = self.target.set(0, self.server.target(), 0) {
            self.notes.push(format!("the new postmaster cannot be followed: {error}"));
            return;
        }
        self.adopt_running();
        self.notes.push(format!(
            "a new postmaster (pid {pid}) was found {:.1} s into the profile; what its backends did up to {} ms before is \
             not in the report",
            self.elapsed().as_secs_f64(),
            self.config.drain.as_millis()
        ));
    }
}
