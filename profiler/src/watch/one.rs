//! One server under profile: what is known of it and what it did. All that is the host's is asked of [`super::Watches`].

use std::{
    collections::HashSet,
    io,
    rc::Rc,
    time::{Duration, SystemTime},
};

use pgstrobe_common::{
    cluster::Cluster as KernelCluster,
    files::{FileIo, FileKey},
    state::{BACKEND_CUT, BACKEND_OPEN, Backend},
};

use super::{follow::Life, locks::Sampler, memory::Memory, names::Names, slice::Slice, storage::Storage};
use crate::{
    aggregate::{Account, Aggregate},
    cause::Stacks,
    config::Config,
    instrument::{Backends, Clusters},
    kernel::{cgroup, faults, features::monotonic_ns},
    maps::Map,
    pace::Every,
    postgres::{backend::Role, catalog::Catalog, server::Server},
    report::model::{self, Report, SCHEMA},
    time::Span,
};

/// How often the quota of the server's cgroups is looked at: it may come and go.
const QUOTA: Duration = Duration::from_secs(1);

/// A server, by its number on the kernel side.
pub(super) struct Watch {
    pub number: u16,
    pub server: Server,
    pub aggregate: Aggregate,
    pub storage: Storage,
    pub names: Names,
    memory: Memory,
    pub(super) waits: Sampler,
    /// Forked, and not yet known by their own word.
    pub(super) unidentified: HashSet<u32>,
    pub restarts: u32,
    pub(super) life: Life,
    pub notes: Vec<String>,
    pub(super) config: Rc<Config>,
    /// When the stretch of time under way began, by the clock of the records and by that of people.
    began_ns: u64,
    began_at: SystemTime,
    quota: Every,
}

impl Watch {
    /// The server is entered on the kernel side under its number already; its processes are not.
    pub fn open(number: u16, server: Server, catalog: Catalog, config: Rc<Config>) -> Self {
        let cluster = &server.cluster;
        let mut aggregate = Aggregate::new(cluster.version.major, cluster.data_directory.clone(), config.show_literals);
        let began_ns = monotonic_ns();
        aggregate.begins(began_ns);
        Self {
            number,
            aggregate,
            storage: Storage::open(number, &server),
            names: Names::new(catalog),
            memory: Memory::open(cluster.postmaster_pid),
            waits: Sampler::default(),
            unidentified: HashSet::new(),
            restarts: 0,
            life: Life::default(),
            notes: Vec::new(),
            config,
            began_ns,
            began_at: SystemTime::now(),
            quota: Every::after(QUOTA),
            server,
        }
    }

    /// What is to be done at every tick once the records of this time are taken in.
    pub fn tick(&mut self, backends: &Backends, files: &mut Map<FileKey, FileIo>, clusters: &mut Clusters) {
        self.identify_new();
        self.sample_waits(backends);
        self.storage.tick(files);
        self.storage.aio.look(&self.server, &self.aggregate);
        let new: Vec<_> = self.aggregate.new_files().into_iter().chain(self.storage.new_files()).collect();
        self.names.tick(&self.server, new);
        if self.quota.is_due() && !self.is_gone() {
            clusters.set_quota(self.number.into(), cgroup::has_quota(self.server.cluster.postmaster_pid));
        }
    }

    /// Enters the server on the kernel side, or replaces what is known of it there: from now on the children of its postmaster are
    /// backends of this number.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn enter(clusters: &mut Clusters, number: u16, server: &Server) -> io::Result<()> {
        let postmaster = server.cluster.postmaster_pid;
        let quota = cgroup::has_quota(postmaster).into();
        clusters.follow(number.into(), KernelCluster { quota, ..server.for_kernel() }, postmaster)
    }

    /// Takes in what a backend has not sent yet, as it was at `now`.
    pub fn settle(&mut self, state: &Backend, now: u64, stacks: &mut Stacks) {
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
        stacks.learn(&state.inside.parts);
        stacks.learn(&state.outside.parts);
        stacks.learn_word(state.context);
        self.aggregate.settle(pid, state, now, query, before);
        self.aggregate.settle_reclaim(pid, state);
    }

    /// The counts of the kernel, and the state of a backend at the same moment: no statement began or ended in between.
    pub fn settle_faults(&mut self, pid: u32, backends: &Backends) {
        const LOOKS: usize = 8;
        for _ in 0..LOOKS {
            let Some(before) = backends.get(pid) else { return };
            let Some(counted) = faults::of(pid) else { return };
            let Some(after) = backends.get(pid) else { return };
            let moment = |state: &Backend| (state.statements, state.start_ns, state.flags & BACKEND_OPEN);
            if moment(&before) == moment(&after) {
                return self.aggregate.settle_faults(pid, &after, counted);
            }
        }
    }

    /// What there was until `ended_ns`, of which the records are in the account; the next stretch of time begins.
    pub fn cut(&mut self, account: Account, ended_ns: u64, files: &mut Map<FileKey, FileIo>) -> Slice {
        let ended_at = SystemTime::now() - Duration::from_nanos(monotonic_ns().saturating_sub(ended_ns));
        Slice {
            span: Span { from_ns: std::mem::replace(&mut self.began_ns, ended_ns), to_ns: ended_ns },
            began_at: std::mem::replace(&mut self.began_at, ended_at),
            account,
            files: self.storage.cut_files(&self.server, files),
            memory: self.memory.cut(self.server.cluster.postmaster_pid),
            wal: self.storage.wal.cut(&self.aggregate),
            aio: self.storage.aio.cut(),
        }
    }

    /// The head of a report, with what the records gave.
    pub fn begin_report(&self, slice: &Slice, host: model::Host) -> Report {
        let mut report = Report {
            schema: SCHEMA.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: humantime::format_rfc3339_millis(slice.began_at).to_string(),
            duration_ns: slice.duration().as_nanos() as u64,
            host,
            clusters: vec![self.model()],
            ..Report::default()
        };
        slice.account.fill(self.aggregate.names(), &mut report);
        report
    }

    /// What of a report is looked up: files, memory, WAL, asynchronous I/O. WAL reads what is there of syncs and roles.
    pub fn fill(&self, slice: &Slice, report: &mut Report) {
        let names = self.aggregate.names();
        slice.files.fill(report, &self.server);
        slice.memory.fill(report);
        slice.wal.fill(report, &self.server);
        let began = |checkpoint: &model::Checkpoint| slice.wal.began_ns(checkpoint);
        slice.account.fill_checkpoints(names, &mut report.storage.wal, began);
        slice.aio.fill(report, &self.server, &self.storage.aio, slice.account.aio_waits(names));
    }

    fn model(&self) -> model::Cluster {
        let cluster = &self.server.cluster;
        model::Cluster {
            postmaster_pid: cluster.postmaster_pid,
            namespace_pid: self.server.namespace_pid(cluster.postmaster_pid),
            version: cluster.version.to_string(),
            port: cluster.port,
            data_directory: cluster.data_directory.display().to_string(),
            binary: cluster.binary.display().to_string(),
            container: cluster.container.clone(),
            boundary: self.config.boundary.name().into(),
            restarts: self.restarts,
        }
    }
}
