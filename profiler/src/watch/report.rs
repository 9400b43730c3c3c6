//! From what was watched to reports: one of each server, all of the same stretch of time, the host measured once.

use std::time::{Duration, Instant, SystemTime};

use super::{
    Watches,
    slice::{Cut, HostSlice},
};
use crate::{
    aggregate::Account,
    findings,
    kernel::features::monotonic_ns,
    postgres::cluster::Cluster,
    report::{
        document::{Document, Reports},
        model::Report,
    },
};

/// Longest that a report waits for what the servers were asked.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How often answers, and records, are looked for meanwhile.
const LOOK: Duration = Duration::from_millis(5);

impl Watches {
    /// Closes the accounts of the host and of all servers at this moment, and opens the next ones. Detaching takes the kernel a
    /// second, so it is left to the drop, after the `last` one.
    fn cut(&mut self, last: bool) -> Cut {
        self.drain_all();
        for watch in self.watches.values_mut() {
            watch.identify_new();
            watch.sample_waits(&self.backends);
        }
        // Takes its time, which would be in the accounts and not in the duration.
        let cpu = self.host.cut_cpu();
        let ended_ns = monotonic_ns();
        self.settle();
        // Where one server is watched, it has a slice even after its end.
        let watches = self.watches.values_mut().filter(|watch| !self.all || !watch.is_over());
        let accounts: Vec<(u16, Account)> =
            watches.map(|watch| (watch.number, watch.aggregate.cut(monotonic_ns()))).collect();
        let statements = accounts.iter().map(|(_, account)| account.statements()).sum();
        let devices = self.host.cut_devices(&self.postmasters());
        let coverage = self.instrument.cut(last);
        let mut servers = Vec::with_capacity(accounts.len());
        for (number, account) in accounts {
            if let Some(watch) = self.watches.get_mut(&number) {
                servers.push((number, watch.cut(account, ended_ns, &mut self.files)));
            }
        }
        Cut { host: HostSlice { cpu, devices, coverage, statements }, servers }
    }

    /// The reports of the interval that ends now; there will be no others after the `last` ones.
    pub fn report(&mut self, last: bool) -> Document {
        let Cut { host, servers: slices } = self.cut(last);
        let names: Vec<(u32, String)> = self.servers().map(|server| (server.postmaster_pid, name(server))).collect();
        let mut reports: Vec<(u16, Report)> = Vec::new();
        for (number, slice) in &slices {
            let Some(watch) = self.watches.get_mut(number) else { continue };
            let model = self.host.model(&host.cpu, watch.server.cluster.postmaster_pid, &names);
            let mut report = watch.begin_report(slice, model);
            self.host.fill(&host.devices, &mut report, watch);
            watch.fill(slice, &mut report);
            watch.names.ask(&report);
            watch.fill_coverage(&mut report, &host.coverage, host.statements, &self.stacks);
            watch.reported();
            reports.push((*number, report));
        }
        if !last {
            self.forget();
        }
        self.hear_answers();
        for (number, report) in &mut reports {
            if let Some(watch) = self.watches.get_mut(number) {
                watch.names.fill(report);
            }
            report.findings = findings::evaluate(report);
        }
        self.document(reports.into_iter().map(|(_, report)| report).collect())
    }

    /// Takes in what backends have not sent yet. Those that are known to live are looked up, not all places that there are: that
    /// would take longer than all the rest.
    fn settle(&mut self) {
        let live = self.watches.values().flat_map(|watch| watch.aggregate.live());
        let states = live.filter_map(|pid| self.backends.get(pid)).map(|state| (state, monotonic_ns()));
        let states: Vec<_> =
            states.map(|(state, now)| (self.backends.with_batch(&state).unwrap_or(state), now)).collect();
        // What ended while the states were read is finished after all.
        self.drain();
        for (state, now) in states {
            let number = u16::try_from(state.cluster).unwrap_or(u16::MAX);
            if let Some(watch) = self.watches.get_mut(&number) {
                watch.settle(&state, now, &mut self.stacks);
                watch.settle_faults(state.pid, &self.backends);
            }
        }
    }

    /// Gives servers that were asked for names a little time, in which records are taken in as ever.
    fn hear_answers(&mut self) {
        let began = Instant::now();
        loop {
            let waits = self.watches.values_mut().map(|watch| watch.names.wait());
            if !waits.fold(false, |any, waits| any | waits) || began.elapsed() >= LAST_ANSWERS {
                return;
            }
            std::thread::sleep(LOOK);
            self.drain();
        }
    }

    fn document(&mut self, mut reports: Vec<Report>) -> Document {
        if !self.all && reports.len() == 1 {
            return Document::One(Box::new(reports.remove(0)));
        }
        let started_at = humantime::format_rfc3339_millis(self.began_at).to_string();
        let duration_ns = self.began.elapsed().as_nanos() as u64;
        (self.began, self.began_at) = (Instant::now(), SystemTime::now());
        Document::All(Box::new(Reports::new(started_at, duration_ns, reports, std::mem::take(&mut self.notes))))
    }
}

/// A server as its neighbours' reports name it.
fn name(server: &Cluster) -> String {
    match server.port {
        Some(port) => format!("PostgreSQL {} on port {port}", server.version),
        None => format!("PostgreSQL {}", server.version),
    }
}
