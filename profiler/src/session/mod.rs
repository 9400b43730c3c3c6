//! A profile under way: load, attach, drain, tick, and at the end one [`Report`].

mod backends;
mod coverage;
mod drain;
mod host;
mod names;
mod restart;
mod storage;
mod waits;

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    path::Path,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData, RingBuf},
};
use pgstrobe_common::{
    context,
    fields::ABSENT,
    state::{
        BACKEND_CUT, BACKEND_IN_TRANSACTION, BACKEND_OFF, BACKEND_OPEN, BACKEND_SLEPT, BACKEND_STARTING,
        BOUNDARY_SOCKET, BOUNDARY_UPROBE, Backend, HIT_KINDS, LOST_REASONS, Settings, Target,
    },
};

use backends::Backends;

use crate::{
    aggregate::Aggregate,
    attach::{self, Attached, Site, Sites},
    config::{Boundary, Config},
    cost::{self, ProgramCost, Timing},
    findings,
    kernel::{
        btf::{Btf, VMLINUX},
        cgroup,
        features::{self, Host, monotonic_ns},
        host_cpu::HostCpu,
        vm,
    },
    postgres::{
        backend::{Identity, Role},
        catalog::Catalog,
        cluster::{self, Cluster},
        server::Server,
    },
    probes::{Level, PROBES, Point},
    report::model::{self, Report, SCHEMA},
};

/// Why a profile cannot begin: privilege or kernel (exit code 4).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A profile under way. Nothing is pinned: dropping it, or the death of the process, detaches everything.
pub struct Session {
    ebpf: Ebpf,
    _links: Vec<OwnedFd>,
    ring: RingBuf<MapData>,
    backends: Backends,
    waits: waits::Sampler,
    storage: storage::Storage,
    names: names::Names,
    target: Array<MapData, Target>,
    server: Server,
    host: Host,
    host_cpu: HostCpu,
    config: Config,
    attached: Vec<Attached>,
    aggregate: Aggregate,
    /// Forked, and not yet known by their own word.
    unidentified: HashSet<u32>,
    /// Statements that were running when the profile began.
    found_running: HashSet<u32>,
    restarts: u32,
    notes: Vec<String>,
    started: Instant,
    started_at: SystemTime,
    interval: Instant,
    cpu_at_start: u64,
    timing: Option<Timing>,
    /// The kernel refused to time the programs.
    untimed: bool,
    ticks: u64,
    /// Costs seen in the windows in which the kernel timed the programs, by program.
    timed: HashMap<&'static str, ProgramCost>,
    window: HashMap<&'static str, ProgramCost>,
    hits_before: [u64; HIT_KINDS as usize],
    lost_before: [u64; LOST_REASONS as usize],
    skipped_before: u64,
}

/// Whether this process may profile at all.
///
/// # Errors
/// Names what forbids it, or the missing capabilities, and the way to get them.
pub fn check_privilege() -> Result<(), Refused> {
    if features::confidentiality_lockdown() {
        return Err(Refused(
            "the kernel is locked down (confidentiality), so that programs may not read memory: boot with \
             lockdown=integrity or without lockdown"
                .into(),
        ));
    }
    let missing = features::missing_capabilities();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refused(format!(
        "pgstrobe needs {} to load eBPF programs and to read the server's memory: run it as root (sudo pgstrobe …)",
        missing.join(", ")
    )))
}

impl Session {
    /// Attaches to a cluster.
    ///
    /// # Errors
    /// [`Refused`] where privilege or a kernel feature is missing.
    pub fn start(config: Config, cluster: Cluster) -> Result<Self> {
        let vmlinux = config.btf.as_deref().unwrap_or(Path::new(VMLINUX));
        let btf = Btf::load(vmlinux).map_err(|error| {
            Refused(format!(
                "{error}: pgstrobe needs the kernel's type information; use a kernel built with CONFIG_DEBUG_INFO_BTF, \
                 or give its BTF with --btf FILE"
            ))
        })?;
        let kernel_btf =
            aya::Btf::parse_file(vmlinux, aya::Endianness::default()).context("the kernel's type information")?;
        tracing::debug!("kernel types read");
        let server = Server::open(cluster)?;
        tracing::debug!("server opened");
        // A large catalog takes its time, in which nothing is drained.
        let names = names::Names::new(Catalog::open(&server, config.dsn.as_ref()));
        let mut settings = Settings { kernel: btf.resolve(), ..Settings::UNRESOLVED };
        let kernel = &settings.kernel;
        for (name, offset) in [
            ("task_struct.pid", kernel.task_pid),
            ("task_struct.tgid", kernel.task_tgid),
            ("task_struct.__state", kernel.task_state),
            ("task_struct.exit_code", kernel.task_exit_code),
        ] {
            if offset == ABSENT {
                return Err(Refused(format!("this kernel's type information has no {name}")).into());
            }
        }
        // Both helpers came before 5.15 ended; the function behind the second is named in BTF.
        settings.task_btf = btf.has_function("bpf_task_pt_regs") as u32;
        settings.in_iowait = btf.bit_of("task_struct", "in_iowait").unwrap_or(0);
        settings.twice = btf.preempts_tracepoints() as u32;
        settings.bio_second = (btf.tracepoint_arguments("block_bio_queue") == Some(2)) as u32;
        settings.dirty_arguments = vm::dirty_arguments(&btf);
        settings.block = btf.resolve_block();
        settings.block_queue_before_bio = (btf.tracepoint_arguments("block_getrq") == Some(3)) as u32;
        settings.block_queue_first = (btf.tracepoint_arguments("block_rq_insert") == Some(2)) as u32;
        settings.boundary = if config.boundary == Boundary::Uprobe { BOUNDARY_UPROBE } else { BOUNDARY_SOCKET };
        settings.empty = config.empty_programs as u32;
        server.settings(&mut settings);

        let mut ebpf = attach::load(&settings, &kernel_btf, config.ring_bytes).map_err(|error| {
            Refused(format!("the kernel refuses to load pgstrobe's programs: {error:#} (see `pgstrobe doctor`)"))
        })?;
        let map = |ebpf: &mut Ebpf, name: &str| ebpf.take_map(name).with_context(|| format!("no map {name}"));
        let ring = RingBuf::try_from(map(&mut ebpf, "RING")?)?;
        let backends = Backends::take(&mut ebpf)?;
        let mut target = Array::try_from(map(&mut ebpf, "TARGET")?)?;
        let quota = cgroup::has_quota(server.cluster.postmaster_pid);
        target.set(0, Target { quota: quota as u32, ..server.target() }, 0)?;

        let site = |name: &str| sites_of(&server, name);
        let sites = Sites {
            btf: &btf,
            kernel: &kernel_btf,
            server: &site,
            empty: config.empty_programs,
            only_way: config.only_way.as_deref(),
        };
        let mut links = Vec::new();
        let mut attached = Vec::new();
        for probe in PROBES {
            let wanted = if probe.name == "statement-entry" {
                config.boundary == Boundary::Uprobe
            } else {
                probe.level <= config.level
            };
            if !wanted {
                let reason = Some(format!("not asked for (level {})", probe.level.name()));
                attached.push(Attached { probe, way: None, reason });
                continue;
            }
            let result = attach::attach(&mut ebpf, probe, &sites, &mut links);
            if result.way.is_none() && probe.essential {
                let reason = result.reason.unwrap_or_default();
                return Err(Refused(format!("cannot attach the probe `{}`: {reason}", probe.name)).into());
            }
            attached.push(result);
        }

        let storage = storage::Storage::open(&mut ebpf, &server, &btf)?;
        let aggregate =
            Aggregate::new(server.cluster.version.major, server.cluster.data_directory.clone(), config.show_literals);
        let hits_before = std::array::from_fn(|kind| coverage::counter(&ebpf, "HITS", kind as u32));
        let now = Instant::now();
        let mut this = Self {
            ebpf,
            _links: links,
            ring,
            backends,
            waits: waits::Sampler::default(),
            storage,
            names,
            target,
            server,
            host: Host::look(),
            host_cpu: HostCpu::open(),
            config,
            attached,
            aggregate,
            unidentified: HashSet::new(),
            found_running: HashSet::new(),
            restarts: 0,
            notes: Vec::new(),
            started: now,
            started_at: SystemTime::now(),
            interval: now,
            cpu_at_start: cost::own_cpu_ns(),
            timing: None,
            untimed: false,
            ticks: 0,
            timed: HashMap::new(),
            window: HashMap::new(),
            // What proved the hooks is none of the profile.
            hits_before,
            lost_before: [0; LOST_REASONS as usize],
            skipped_before: 0,
        };
        this.aggregate.begins(monotonic_ns());
        this.adopt_running();
        if this.config.bpf_stats {
            this.timing = Timing::start();
            this.untimed = this.timing.is_none();
            this.window = this.program_costs();
        }
        Ok(this)
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Enters the processes that already run into the kernel side's map.
    fn adopt_running(&mut self) {
        let postmaster = self.server.cluster.postmaster_pid;
        let pids = cluster::children(&self.server.cluster).into_iter().chain([postmaster]);
        for pid in pids {
            let mut identity = self.server.identify(pid);
            if pid == postmaster {
                identity = Identity::of(Role::Postmaster);
            } else if identity.role == Role::Unknown {
                // In its first moments: the next look will tell.
                self.unidentified.insert(pid);
            }
            let client = matches!(identity.role, Role::ClientBackend | Role::WalSender);
            let now = monotonic_ns();
            let mut state =
                Backend { pid, since_ns: now, cpu_mark_ns: now, backend_type: u32::MAX, ..Backend::default() };
            if !client || self.server.is_starting(pid) {
                state.flags |= BACKEND_STARTING;
            } else {
                self.find_started(&mut state, now);
            }
            if let Some((sleeping, run_delay)) = scheduling(pid) {
                state.run_delay_ns = run_delay;
                if sleeping {
                    state.flags |= BACKEND_OFF | BACKEND_SLEPT;
                    state.off_ns = now;
                    // How long it had waited before is not known: the wait counts from here.
                    state.wait_began_ns = now;
                    state.wait_event_info = self.server.wait_event(pid);
                    state.context = context_of(pid, &state);
                }
            }
            if !self.backends.enter(state) {
                continue;
            }
            if !Path::new(&format!("/proc/{pid}")).exists() {
                self.backends.leave(pid);
                continue;
            }
            if client && state.flags & BACKEND_STARTING != 0 && !self.server.is_starting(pid) {
                self.find_ready(pid);
            }
            self.aggregate.appear(pid, self.server.namespace_pid(pid));
            self.aggregate.identify(pid, identity);
        }
    }

    /// What a backend past its start-up does as it is found.
    fn find_started(&mut self, state: &mut Backend, now: u64) {
        if self.config.level >= Level::Standard && self.server.is_working(state.pid) {
            state.flags |= BACKEND_OPEN | BACKEND_CUT;
            state.start_ns = now;
            self.found_running.insert(state.pid);
            return;
        }
        state.end_ns = now;
        if self.server.is_in_transaction(state.pid) {
            state.flags |= BACKEND_IN_TRANSACTION;
        }
    }

    /// A backend ended its start-up between the look at it and its entry: the hooks did not see that.
    fn find_ready(&mut self, pid: u32) {
        let Some(mut state) = self.backends.get(pid).filter(|state| state.flags & BACKEND_STARTING != 0) else {
            return;
        };
        state.flags &= !BACKEND_STARTING;
        self.find_started(&mut state, monotonic_ns());
        self.backends.replace(state);
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
        self.learn_names();
        self.sample_cost();
        self.follow_quota();
    }

    /// A quota may come and go; looked at once a second or so.
    fn follow_quota(&mut self) {
        if !self.ticks.is_multiple_of(10) {
            return;
        }
        let Ok(mut target) = self.target.get(&0, 0) else { return };
        let quota = cgroup::has_quota(self.server.cluster.postmaster_pid) as u32;
        if target.postmaster != 0 && target.quota != quota {
            target.quota = quota;
            let _ = self.target.set(0, target, 0);
        }
    }

    fn identify_new(&mut self) {
        for pid in std::mem::take(&mut self.unidentified) {
            let identity = self.server.identify(pid);
            if identity.role == Role::Unknown {
                // Still on its way from the postmaster's image; its exit or the next look will tell.
                if Path::new(&format!("/proc/{pid}")).exists() {
                    self.unidentified.insert(pid);
                }
                continue;
            }
            self.aggregate.identify(pid, identity);
        }
    }

    /// Lets the kernel time the programs for one tick in twenty: that makes each hit some 20 ns dearer.
    fn sample_cost(&mut self) {
        self.ticks += 1;
        if self.config.bpf_stats {
            return;
        }
        match self.ticks % 20 {
            1 => {
                self.window = self.program_costs();
                self.timing = Timing::start();
                self.untimed = self.timing.is_none();
            }
            2 => self.close_window(),
            _ => {}
        }
    }

    fn close_window(&mut self) {
        self.timing = None;
        for (name, now) in self.program_costs() {
            let before = self.window.get(name).copied().unwrap_or_default();
            tracing::trace!("{name}: {} hits, {} ns", now.hits - before.hits, now.run_ns - before.run_ns);
            let sum = self.timed.entry(name).or_default();
            sum.hits += now.hits.saturating_sub(before.hits);
            sum.run_ns += now.run_ns.saturating_sub(before.run_ns);
        }
        self.window.clear();
    }

    /// The kernel's statistics of every attached program.
    fn program_costs(&self) -> HashMap<&'static str, ProgramCost> {
        self.attached
            .iter()
            .filter_map(|attached| attached.way)
            .flat_map(|way| way.hooks)
            .filter_map(|hook| {
                let info = self.ebpf.program(hook.program)?.info().ok()?;
                let cost = ProgramCost { hits: info.run_count(), run_ns: info.run_time().as_nanos() as u64 };
                Some((hook.program, cost))
            })
            .collect()
    }

    /// Runs that the kernel left out, at the most: where a hook has two programs, no more than either of them missed. A
    /// sample more or less does not count.
    fn skipped_runs(&self) -> u64 {
        let of = |program| Some(cost::skipped_runs(attach::descriptor(self.ebpf.program(program)?)?));
        let ways = self.attached.iter().filter_map(|attached| attached.way);
        ways.flat_map(|way| {
            way.hooks.iter().filter_map(move |hook| {
                let second = match hook.point {
                    Point::CpuClock(_) | Point::TpBtfAgain(_) => return None,
                    Point::TpBtf(name) => {
                        way.hooks.iter().find(|hook| matches!(hook.point, Point::TpBtfAgain(n) if n == name))
                    }
                    _ => None,
                };
                let first = of(hook.program)?;
                Some(second.and_then(|second| of(second.program)).map_or(first, |second| first.min(second)))
            })
        })
        .sum()
    }

    /// The report of the interval that ends now. Detaching takes the kernel up to a second, so it is left to the drop of
    /// the session, after the last report.
    pub fn report(&mut self, last: bool) -> Report {
        if self.timing.is_some() && (last || !self.config.bpf_stats) {
            self.close_window();
        }
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
            self.aggregate.settle(pid, &state, now, query, before);
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
        self.fill_names(&mut report);
        self.storage.wal.fill(&mut report, &self.server, &mut self.aggregate);
        self.fill_coverage(&mut report);
        report.findings = findings::evaluate(&report);
        if !last {
            self.aggregate.next_interval();
            self.aggregate.begins(monotonic_ns());
            self.interval = Instant::now();
            self.started_at = SystemTime::now();
            self.cpu_at_start = cost::own_cpu_ns();
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
    pub fn drain_period(&self) -> std::time::Duration {
        self.config.drain
    }

    /// Statements counted since the last report.
    pub fn statements(&self) -> u64 {
        self.aggregate.statements()
    }

    /// Time since the profile began.
    pub fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }
}

/// Whether a process sleeps, and its run-queue delay so far in nanoseconds (second field of /proc/PID/schedstat).
fn scheduling(pid: u32) -> Option<(bool, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit(") ").next()?.chars().next()?;
    let schedstat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let delay = schedstat.split_whitespace().nth(1)?.parse().ok()?;
    Some((matches!(state, 'S' | 'D'), delay))
}

/// The context of the sleep a process was found in (see `pgstrobe_common::context`).
fn context_of(pid: u32, state: &Backend) -> u32 {
    if state.flags & (BACKEND_OPEN | BACKEND_STARTING) == 0 {
        let open = state.flags & BACKEND_IN_TRANSACTION != 0;
        return context::IDLE | if open { context::IN_TRANSACTION } else { 0 };
    }
    // "NUMBER ARGUMENTS…" of the system call it sleeps in, or "-1 …" in none (fs/proc/base.c).
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let number = call.split_whitespace().next().and_then(|word| word.parse::<u32>().ok());
    number.filter(|number| *number < context::NO_SYSCALL).unwrap_or(context::NO_SYSCALL)
}

/// Where a named place is in the server's executable.
fn sites_of(server: &Server, name: &str) -> Vec<Site> {
    let file = std::path::PathBuf::from(format!("/proc/{}/exe", server.cluster.postmaster_pid));
    let site = |offset, semaphore| Site { file: file.clone(), offset, semaphore };
    if let Some(usdt) = name.strip_prefix("usdt:") {
        let places = server.binary.usdt("postgresql", usdt);
        return places.filter_map(|usdt| Some(site(usdt.file_offset?, usdt.semaphore_file_offset))).collect();
    }
    let symbol = server.binary.symbol(name);
    symbol
        .and_then(|symbol| server.binary.file_offset(symbol.address))
        .map(|offset| site(offset, None))
        .into_iter()
        .collect()
}
