//! A profile under way: load, attach, drain, tick, and at the end one [`Report`].

mod adopt;
mod coverage;
mod drain;
mod host;
mod memory;
mod names;
mod restart;
mod start;
mod storage;
mod trace;
mod waits;

use std::{
    collections::HashSet,
    time::{Duration, Instant, SystemTime},
};

use pgstrobe_common::state::{BACKEND_CUT, BACKEND_OPEN};

pub use start::check_privilege;

use crate::{
    aggregate::Aggregate,
    cause::Stacks,
    config::Config,
    findings,
    instrument::{Backends, Clusters, Instrument},
    kernel::{
        cgroup,
        features::{Host, monotonic_ns},
        host_cpu::HostCpu,
    },
    pace::Every,
    postgres::{backend::Role, server::Server},
    report::model::{self, Report, SCHEMA},
};

/// Why a profile cannot begin: privilege or kernel (exit code 4).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// How often the quota of the server's cgroups is looked at.
const QUOTA: Duration = Duration::from_secs(1);

/// A profile under way. Nothing is pinned: dropping it, or the death of the process, detaches everything.
pub struct Session {
    instrument: Instrument,
    backends: Backends,
    waits: waits::Sampler,
    stacks: Stacks,
    storage: storage::Storage,
    memory: memory::Memory,
    names: names::Names,
    clusters: Clusters,
    /// Of the server, on the kernel side.
    number: u32,
    server: Server,
    host: Host,
    host_cpu: HostCpu,
    config: Config,
    aggregate: Aggregate,
    /// Forked, and not yet known by their own word.
    unidentified: HashSet<u32>,
    restarts: u32,
    following: restart::Following,
    notes: Vec<String>,
    started: Instant,
    started_at: SystemTime,
    interval: Instant,
    quota: Every,
    forget: Every,
}

impl Session {
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What is to be done regularly: drain, look after the postmaster, learn names, see who waits for whom, sample the
    /// cost.
    pub fn tick(&mut self) {
        self.storage.wal.look(&self.server, &mut self.aggregate);
        self.drain();
        self.follow_postmaster();
        self.identify_new();
        self.sample_waits();
        self.storage.tick(&self.server);
        self.storage.aio.look(&self.server, &self.aggregate);
        self.learn_names();
        self.instrument.tick();
        self.follow_quota();
    }

    /// A quota may come and go.
    fn follow_quota(&mut self) {
        if !self.quota.is_due() {
            return;
        }
        if !self.gone() {
            self.clusters.set_quota(self.number, cgroup::has_quota(self.server.cluster.postmaster_pid));
        }
    }

    /// The report of the interval that ends now. Detaching takes the kernel a second, so it is left to the drop of
    /// the session, after the last report.
    pub fn report(&mut self, last: bool) -> Report {
        self.storage.wal.look(&self.server, &mut self.aggregate);
        self.drain();
        self.identify_new();
        self.sample_waits();
        // Takes its time, which would be in the accounts and not in the duration.
        let host = self.host_model();
        let elapsed = self.interval.elapsed();
        let states = self.backends.all().map(|state| (state, monotonic_ns()));
        let states: Vec<_> =
            states.map(|(state, now)| (self.backends.with_batch(&state).unwrap_or(state), now)).collect();
        // What ended while the states were read is finished after all.
        self.drain();
        for (state, now) in states {
            let pid = state.pid;
            self.aggregate.unsent(pid, &state.batch);
            if let Some(known) = self.aggregate.identity(pid)
                && known.role == Role::ClientBackend
            {
                let identity = self.server.identify(pid);
                if identity.role == Role::ClientBackend {
                    self.aggregate.identify(pid, identity);
                }
            }
            let open = state.flags & BACKEND_OPEN != 0;
            let query = if open { self.server.query(pid) } else { None };
            let before = state.flags & BACKEND_CUT != 0;
            self.stacks.learn(&state.inside.parts);
            self.stacks.learn(&state.outside.parts);
            self.stacks.learn_word(state.context);
            self.aggregate.settle(pid, &state, now, query, before);
            self.aggregate.settle_reclaim(pid, &state);
        }
        let mut report = Report {
            schema: SCHEMA.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: humantime::format_rfc3339_millis(self.started_at).to_string(),
            duration_ns: elapsed.as_nanos() as u64,
            host,
            clusters: vec![self.cluster_model()],
            ..Report::default()
        };
        self.aggregate.fill(&mut report);
        self.storage.fill(&mut report, &self.server);
        self.memory.fill(&mut report, self.server.cluster.postmaster_pid);
        self.fill_names(&mut report);
        self.storage.wal.fill(&mut report, &self.server, &mut self.aggregate);
        self.storage.aio.fill(&mut report, &self.server, self.aggregate.aio_waits());
        self.fill_coverage(&mut report, last);
        report.findings = findings::evaluate(&report);
        if !last {
            self.aggregate.next_interval();
            self.aggregate.begins(monotonic_ns());
            self.interval = Instant::now();
            self.started_at = SystemTime::now();
        }
        report
    }

    fn cluster_model(&self) -> model::Cluster {
        let cluster = &self.server.cluster;
        model::Cluster {
            postmaster_pid: cluster.postmaster_pid,
            namespace_pid: self.server.namespace_pid(cluster.postmaster_pid),
            version: cluster.version.to_string(),
            port: cluster.port,
            data_directory: cluster.data_directory.display().to_string(),
            binary: cluster.binary.display().to_string(),
            boundary: self.config.boundary.name().into(),
            restarts: self.restarts,
        }
    }

    /// How often [`Session::tick`] is to be called.
    pub fn drain_period(&self) -> Duration {
        self.config.drain
    }

    /// Statements counted since the last report.
    pub fn statements(&self) -> u64 {
        self.aggregate.statements()
    }

    /// Time since the profile began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
