//! The beginning of a profile: privilege, the kernel's types, programs loaded, hooks attached, servers entered.

use std::{
    collections::BTreeMap,
    path::Path,
    rc::Rc,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use pgstrobe_common::{
    fields::ABSENT,
    state::{BOUNDARY_SOCKET, BOUNDARY_UPROBE, Settings},
};

use super::{
    Refused, Watches,
    age::AGE,
    finder::Finder,
    follow::{RESCAN, SCAN},
    host::HostMeasures,
    numbers::Numbers,
    one::Watch,
    trace::{self, FORGET},
};
use crate::{
    cause::Stacks,
    config::{Boundary, Config},
    instrument::{Instrument, KernelTypes, Options, Site, Sites},
    kernel::{
        btf::{Btf, VMLINUX},
        features, vm,
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

impl Watches {
    /// Attaches to clusters, one at least; with `all`, those that start meanwhile are watched too.
    ///
    /// # Errors
    /// [`Refused`] where privilege or a kernel feature is missing; or a server cannot be opened.
    pub fn start(config: Config, clusters: Vec<Cluster>, all: bool) -> Result<Self> {
        let vmlinux = config.btf.as_deref().unwrap_or(Path::new(VMLINUX));
        let btf = Btf::load(vmlinux).map_err(|error| {
            Refused(format!(
                "{error}: pgstrobe needs the kernel's type information; use a kernel built with CONFIG_DEBUG_INFO_BTF, \
                 or give its BTF with --btf FILE"
            ))
        })?;
        let types = KernelTypes::parse_file(vmlinux, Default::default()).context("the kernel's type information")?;
        tracing::debug!("kernel types read");
        let known: Vec<_> = clusters.iter().map(Cluster::process).collect();
        let (servers, notes) = open(clusters, all)?;
        tracing::debug!("servers opened");
        // A large catalog takes its time, in which nothing is drained.
        let servers: Vec<(Server, Catalog)> = servers
            .into_iter()
            .map(|server| {
                let catalog = match config.trace {
                    Some(_) => Catalog::unread(&server),
                    None => Catalog::open(&server, config.dsn.as_ref()),
                };
                (server, catalog)
            })
            .collect();

        let settings = settings(&config, &btf)?;
        let options = Options { ring_bytes: config.ring_bytes, exact: config.bpf_stats };
        let mut instrument = Instrument::load(&settings, &types, options).map_err(|error| {
            Refused(format!("the kernel refuses to load pgstrobe's programs: {error:#} (see `pgstrobe doctor`)"))
        })?;
        let backends = instrument.backends()?;
        let stacks = Stacks::new(instrument.stacks());
        let mut entered = instrument.clusters()?;
        let mut given = Numbers::default();
        let mut numbers = Vec::new();
        for (server, _) in &servers {
            let number =
                given.next(|_| true).context("64 servers are the most that are profiled at once: choose one")?;
            Watch::enter(&mut entered, number, server)?;
            numbers.push(number);
        }
        attach(&mut instrument, &config, &btf, &types, &servers)?;

        let now = Instant::now();
        let mut this = Self {
            backends,
            clusters: entered,
            numbers: given,
            files: instrument.table("FILES")?,
            stacks,
            host: HostMeasures::open(&mut instrument, &btf)?,
            instrument,
            watches: BTreeMap::new(),
            all,
            finder: Finder::start(known, config.dsn.clone()),
            scan: Every::after(SCAN),
            rescan: Every::after(RESCAN),
            forget: Every::after(FORGET),
            age: Every::after(AGE),
            config: Rc::new(config),
            started: now,
            began: now,
            began_at: SystemTime::now(),
            notes,
        };
        for (number, (server, catalog)) in numbers.into_iter().zip(servers) {
            let mut watch = Watch::open(number, server, catalog, Rc::clone(&this.config));
            watch.adopt_running(&mut this.backends);
            this.watches.insert(number, watch);
        }
        this.host.tick(&this.postmasters(), Default::default);
        Ok(this)
    }

    /// Begins to watch one more server; its number.
    pub(super) fn watch(&mut self, server: Server, catalog: Catalog) -> Result<u16> {
        let watches = &self.watches;
        let number = self.numbers.next(|number| watches.contains_key(&number));
        let number = number.context("64 servers are profiled already, which is the most")?;
        // What is left there of another one that had the number.
        let left: Vec<_> = self.files.keys().into_iter().filter(|key| key.cluster == number).collect();
        left.iter().for_each(|key| self.files.remove(key));
        self.clusters.forget_classes(number);
        Watch::enter(&mut self.clusters, number, &server)?;
        let mut watch = Watch::open(number, server, catalog, Rc::clone(&self.config));
        watch.adopt_running(&mut self.backends);
        self.watches.insert(number, watch);
        Ok(number)
    }
}

/// Opens the servers. One of several that cannot be opened is told of, and no reason to leave out the others.
fn open(clusters: Vec<Cluster>, all: bool) -> Result<(Vec<Server>, Vec<String>)> {
    let (mut servers, mut notes) = (Vec::new(), Vec::new());
    for cluster in clusters {
        let (pid, port) = (cluster.postmaster_pid, cluster.port);
        match Server::open(cluster) {
            Ok(server) => servers.push(server),
            Err(error) if all => notes.push(format!(
                "the server with the postmaster {pid} (port {}) is not profiled: {error}",
                port.map_or("unknown".into(), |port| port.to_string())
            )),
            Err(error) => return Err(error.into()),
        }
    }
    match servers.is_empty() {
        true => Err(anyhow::anyhow!("none of the servers can be profiled: {}", notes.join("; "))),
        false => Ok((servers, notes)),
    }
}

/// What is constant for a load of the programs.
fn settings(config: &Config, btf: &Btf) -> Result<Settings> {
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
    settings.dirty_arguments = vm::dirty_arguments(btf);
    settings.block = btf.resolve_block();
    settings.block_queue_before_bio = (btf.tracepoint_arguments("block_getrq") == Some(3)) as u32;
    settings.block_queue_first = (btf.tracepoint_arguments("block_rq_insert") == Some(2)) as u32;
    settings.boundary = if config.boundary == Boundary::Uprobe { BOUNDARY_UPROBE } else { BOUNDARY_SOCKET };
    trace::settings(&mut settings, config.trace.as_ref());
    settings.empty = config.empty_programs as u32;
    Ok(settings)
}

/// Attaches the probes that the configuration asks for.
fn attach(
    instrument: &mut Instrument,
    config: &Config,
    btf: &Btf,
    types: &KernelTypes,
    servers: &[(Server, Catalog)],
) -> Result<()> {
    let site = |name: &str| sites_of(servers, name);
    let sites =
        Sites { btf, kernel: types, server: &site, empty: config.empty_programs, only_way: config.only_way.as_deref() };
    let refusal = |probe: &Probe| {
        let wanted = if probe.name == "statement-entry" {
            config.boundary == Boundary::Uprobe
        } else {
            probe.level <= config.level || config.trace.is_some()
        };
        let level = || format!("not asked for (level {})", probe.level.name());
        trace::refuses(config, probe).or_else(|| (!wanted).then(level))
    };
    instrument.attach(PROBES, &sites, &refusal, &|probe| trace::is_essential(config, probe)).map_err(Refused)?;
    Ok(())
}

/// Where a named place is in the executables of the servers, in each once.
fn sites_of(servers: &[(Server, Catalog)], name: &str) -> Vec<Site> {
    let mut seen = Vec::new();
    let mut sites = Vec::new();
    for (server, _) in servers {
        if !seen.contains(&server.cluster.binary_id) {
            seen.push(server.cluster.binary_id);
            sites.extend(sites_in(server, name));
        }
    }
    sites
}

/// Where a named place is in the server's executable.
fn sites_in(server: &Server, name: &str) -> Vec<Site> {
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
