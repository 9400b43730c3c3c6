//! Block requests one by one, in place of a profile: begin, ticks, end.

use std::time::{Duration, Instant, SystemTime};

use pgstrobe_common::{
    state::Settings,
    trace::{TRACE_ALL, TRACE_NONE, TRACE_OWN},
};

use super::Session;
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

impl Session {
    /// Requests count that are complete from now on: before, backends were not known yet.
    pub fn begin_trace(&mut self) -> Begin {
        self.drain();
        self.storage.trace(&self.server, &self.aggregate.roles_by_pid(), u64::MAX);
        self.instrument.cut(false);
        (self.started, self.started_at, self.interval) = (Instant::now(), SystemTime::now(), Instant::now());
        self.aggregate.begins(monotonic_ns());
        let cluster = &self.server.cluster;
        let trace = self.config.trace.as_ref();
        Begin {
            schema: SCHEMA.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: humantime::format_rfc3339_millis(self.started_at).to_string(),
            postmaster_pid: cluster.postmaster_pid,
            server_version: cluster.version.to_string(),
            port: cluster.port,
            data_directory: cluster.data_directory.display().to_string(),
            all: trace.is_some_and(|trace| trace.all),
            device: trace.and_then(|trace| trace.device.as_ref()).map(|disk| disk.name.clone()),
            min_ns: trace.map_or(0, |trace| trace.least.as_nanos() as u64),
        }
    }

    /// What is to be done regularly: the requests that are complete since the last time.
    pub fn trace(&mut self) -> Vec<Request> {
        self.drain();
        self.follow_postmaster();
        self.identify_new();
        let requests = self.storage.trace(&self.server, &self.aggregate.roles_by_pid(), self.aggregate.began_ns());
        self.instrument.tick();
        if self.forget.is_due() {
            self.aggregate.next_interval();
        }
        requests
    }

    /// How far the trace can be trusted; `requests` were sent.
    pub fn end_trace(&mut self, requests: u64) -> End {
        let duration_ns = self.interval.elapsed().as_nanos() as u64;
        let mut report = Report::default();
        self.fill_coverage(&mut report, true);
        let mut coverage = report.coverage;
        coverage.probes.retain(|probe| PROBES.contains(&probe.name.as_str()));
        coverage.overhead.run_ns_per_statement = 0.0;
        End { duration_ns, requests, coverage }
    }

    /// The level at which a trace runs: backends are told apart, and nothing of them is measured.
    pub const TRACE_LEVEL: Level = Level::Sample;
}
