//! Block requests one by one, in place of a profile: begin, ticks, end.

use std::time::{Duration, Instant, SystemTime};

use pgstrobe_common::{
    state::Settings,
    trace::{TRACE_ALL, TRACE_NONE, TRACE_OWN},
};

use super::{Watches, one::Watch};
use crate::{
    config::{self, Config},
    kernel::features::monotonic_ns,
    probes::{Level, Probe},
    report::{
        model::Report,
        trace::{Begin, End, Request, SCHEMA},
    },
};

/// Probes of a trace: who is a backend, and the requests.
const PROBES: [&str; 2] = ["lifecycle", "block"];

/// Whether there is no trace without this probe, or no profile.
pub(super) fn is_essential(config: &Config, probe: &Probe) -> bool {
    if config.trace.is_some() { PROBES.contains(&probe.name) } else { probe.essential }
}

/// Why a trace does without this probe.
pub(super) fn refuses(config: &Config, probe: &Probe) -> Option<String> {
    let refuses = config.trace.is_some() && !PROBES.contains(&probe.name);
    refuses.then(|| "not asked for (trace)".into())
}

pub(super) fn settings(settings: &mut Settings, trace: Option<&config::Trace>) {
    settings.trace = match trace {
        None => TRACE_NONE,
        Some(trace) if trace.all => TRACE_ALL,
        Some(_) => TRACE_OWN,
    };
    settings.trace_device = trace.and_then(|trace| trace.device.as_ref()).map_or(0, |disk| disk.number);
    settings.trace_min_us = trace.map_or(0, |trace| u32::try_from(trace.least.as_micros()).unwrap_or(u32::MAX));
}

/// How often processes that ended are forgotten: a request may be complete after its process.
pub(super) const FORGET: Duration = Duration::from_secs(1);

impl Watches {
    /// Requests count that are complete from now on: before, backends were not known yet.
    pub fn begin_trace(&mut self) -> Begin {
        self.drain();
        self.traced(u64::MAX);
        self.instrument.cut(false);
        let now = Instant::now();
        (self.started, self.began, self.began_at) = (now, now, SystemTime::now());
        self.watches.values_mut().for_each(|watch| watch.aggregate.begins(monotonic_ns()));
        let cluster = self.servers().next();
        let trace = self.config.trace.as_ref();
        Begin {
            schema: SCHEMA.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: humantime::format_rfc3339_millis(self.began_at).to_string(),
            postmaster_pid: cluster.map_or(0, |cluster| cluster.postmaster_pid),
            server_version: cluster.map_or(String::new(), |cluster| cluster.version.to_string()),
            port: cluster.and_then(|cluster| cluster.port),
            data_directory: cluster.map_or(String::new(), |cluster| cluster.data_directory.display().to_string()),
            all: trace.is_some_and(|trace| trace.all),
            device: trace.and_then(|trace| trace.device.as_ref()).map(|disk| disk.name.clone()),
            min_ns: trace.map_or(0, |trace| trace.least.as_nanos() as u64),
        }
    }

    /// What is to be done regularly: the requests that are complete since the last time.
    pub fn trace(&mut self) -> Vec<Request> {
        self.drain();
        self.follow();
        self.watches.values_mut().for_each(Watch::identify_new);
        let requests = self.traced(self.watches.values().map(|watch| watch.aggregate.began_ns()).min().unwrap_or(0));
        self.instrument.tick();
        if self.forget.is_due() {
            self.watches.values_mut().for_each(|watch| watch.aggregate.forget());
        }
        requests
    }

    /// The requests that were complete after `began_ns`, as seen from the server that is traced.
    fn traced(&mut self, began_ns: u64) -> Vec<Request> {
        // Nothing is added up in rows.
        self.host.block.tick(&self.postmasters(), Default::default);
        let Some(watch) = self.watches.values().next() else { return Vec::new() };
        self.host.block.requests(watch.number, &watch.aggregate.roles_by_pid(), began_ns)
    }

    /// How far the trace can be trusted; `requests` were sent.
    pub fn end_trace(&mut self, requests: u64) -> End {
        let duration_ns = self.began.elapsed().as_nanos() as u64;
        let cut = self.instrument.cut(true);
        let mut report = Report::default();
        if let Some(watch) = self.watches.values_mut().next() {
            watch.fill_coverage(&mut report, &cut, 0, &self.stacks);
        }
        let mut coverage = report.coverage;
        coverage.probes.retain(|probe| PROBES.contains(&probe.name.as_str()));
        coverage.overhead.run_ns_per_statement = 0.0;
        End { duration_ns, requests, coverage }
    }
}

/// The level at which a trace runs: backends are told apart, and nothing of them is measured.
pub const TRACE_LEVEL: Level = Level::Sample;
