//! The beginning of a profile: privilege, the kernel's types, programs loaded, hooks attached.

use std::{
    collections::HashSet,
    path::Path,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use pgstrobe_common::{
    cluster::Cluster as KernelCluster,
    fields::ABSENT,
    state::{BOUNDARY_SOCKET, BOUNDARY_UPROBE, Settings},
};

use super::{Refused, Session, memory, names, restart, storage, trace, waits};
use crate::{
    aggregate::Aggregate,
    cause::Stacks,
    config::{Boundary, Config},
    instrument::{Instrument, KernelTypes, Options, Site, Sites},
    kernel::{
        btf::{Btf, VMLINUX},
        cgroup,
        features::{self, Host, monotonic_ns},
        host_cpu::HostCpu,
        vm,
    },
    pace::Every,
    postgres::{catalog::Catalog, cluster::Cluster, server::Server},
    probes::{PROBES, Probe},
};

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
            KernelTypes::parse_file(vmlinux, Default::default()).context("the kernel's type information")?;
        tracing::debug!("kernel types read");
        let server = Server::open(cluster)?;
        tracing::debug!("server opened");
        // A large catalog takes its time, in which nothing is drained.
        let catalog = match config.trace {
            Some(_) => Catalog::unread(&server),
            None => Catalog::open(&server, config.dsn.as_ref()),
        };
        let names = names::Names::new(catalog);
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
        settings.frozen = btf.bit_of("task_struct", "frozen").unwrap_or(0);
        settings.in_iowait = btf.bit_of("task_struct", "in_iowait").unwrap_or(0);
        settings.twice = btf.preempts_tracepoints() as u32;
        settings.bio_second = (btf.tracepoint_arguments("block_bio_queue") == Some(2)) as u32;
        settings.dirty_arguments = vm::dirty_arguments(&btf);
        settings.block = btf.resolve_block();
        settings.block_queue_before_bio = (btf.tracepoint_arguments("block_getrq") == Some(3)) as u32;
        settings.block_queue_first = (btf.tracepoint_arguments("block_rq_insert") == Some(2)) as u32;
        settings.boundary = if config.boundary == Boundary::Uprobe { BOUNDARY_UPROBE } else { BOUNDARY_SOCKET };
        trace::settings(&mut settings, config.trace.as_ref());
        settings.empty = config.empty_programs as u32;

        let options = Options { ring_bytes: config.ring_bytes, exact: config.bpf_stats };
        let mut instrument = Instrument::load(&settings, &kernel_btf, options).map_err(|error| {
            Refused(format!("the kernel refuses to load pgstrobe's programs: {error:#} (see `pgstrobe doctor`)"))
        })?;
        let backends = instrument.backends()?;
        let stacks = Stacks::new(instrument.stacks());
        let mut clusters = instrument.clusters()?;
        let number = 0;
        let quota = cgroup::has_quota(server.cluster.postmaster_pid).into();
        clusters.follow(number, KernelCluster { quota, ..server.for_kernel() }, server.cluster.postmaster_pid)?;

        let site = |name: &str| sites_of(&server, name);
        let sites = Sites {
            btf: &btf,
            kernel: &kernel_btf,
            server: &site,
            empty: config.empty_programs,
            only_way: config.only_way.as_deref(),
        };
        let refusal = |probe: &Probe| {
            let wanted = if probe.name == "statement-entry" {
                config.boundary == Boundary::Uprobe
            } else {
                probe.level <= config.level || config.trace.is_some()
            };
            let level = || format!("not asked for (level {})", probe.level.name());
            trace::refuses(&config, probe).or_else(|| (!wanted).then(level))
        };
        instrument.attach(PROBES, &sites, &refusal, &|probe| trace::is_essential(&config, probe)).map_err(Refused)?;

        let storage = storage::Storage::open(&mut instrument, &server, &btf)?;
        let memory = memory::Memory::open(server.cluster.postmaster_pid);
        let aggregate =
            Aggregate::new(server.cluster.version.major, server.cluster.data_directory.clone(), config.show_literals);
        let now = Instant::now();
        let mut this = Self {
            instrument,
            backends,
            waits: waits::Sampler::default(),
            stacks,
            storage,
            memory,
            names,
            clusters,
            number,
            server,
            host: Host::look(),
            host_cpu: HostCpu::open(),
            config,
            aggregate,
            unidentified: HashSet::new(),
            restarts: 0,
            following: restart::Following::default(),
            notes: Vec::new(),
            started: now,
            started_at: SystemTime::now(),
            interval: now,
            quota: Every::after(super::QUOTA),
            forget: Every::after(trace::FORGET),
        };
        this.aggregate.begins(monotonic_ns());
        this.adopt_running();
        Ok(this)
    }
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
