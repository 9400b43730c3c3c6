//! From an account to the report's model.

use std::collections::BTreeMap;

use pgstrobe_common::{faults::Faults, record::IdleInTransaction};

use super::{
    account::{Account, Names},
    faults,
    process::Process,
    queries::Class,
};
use crate::{
    hist::Histogram,
    ledger::Ledger,
    postgres::wait_event,
    report::model::{self, Report},
    vocabulary::{self, Word},
};

impl Account {
    /// Fills the parts of a report that come from records, but asynchronous I/O and checkpoints, which the server tells of too.
    pub fn fill(&self, names: Names<'_>, report: &mut Report) {
        let mut total = Class::default();
        let mut all_faults = Faults::default();
        self.queries.iter().for_each(|(_, query)| {
            total.merge(&query.class);
            all_faults.add(query.faults);
        });
        let mut ledger = total.ledger.model(names.major);
        self.shares.enter(&mut ledger, &total.latency, names.major);
        report.statements = model::Statements {
            count: total.latency.count(),
            errors: total.errors,
            batches: self.batches,
            pipelined: self.pipelined,
            terminated: self.terminated,
            sent_bytes: total.sent_bytes,
            latency: total.latency.summary(),
            ledger,
            faults: faults::model(all_faults),
        };
        let mut backends: Vec<_> = self.processes().collect();
        backends.sort_by_key(|backend| (std::cmp::Reverse(backend.class.ledger.wall_ns), backend.pid));
        report.backends = backends.iter().map(|backend| process(backend, names)).collect();
        report.roles = self.roles(names);
        report.queries = self.queries(names);
        report.unfinished = self.unfinished(names);
        report.tail = self.tail.model(names.major);
        report.slowest = self.slowest(names);
        report.fsync = self.fsync();
        self.blocked.fill(report, names.major);
        self.fill_pairs(names, &mut report.blocking);
        self.fill_pauses(names, &mut report.storage.writeback.pauses);
        self.fill_reclaim(names, &mut report.memory);
        self.fill_coverage(report);
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().chain(self.other_processes.as_deref())
    }

    fn roles(&self, names: Names<'_>) -> Vec<model::Role> {
        #[derive(Default)]
        struct Role {
            processes: u64,
            class: Class,
            outside: Ledger,
            startup: Histogram,
            startup_ledger: Ledger,
            idle: IdleInTransaction,
            samples: BTreeMap<u32, u64>,
            faults: Faults,
        }
        let mut roles: BTreeMap<Word<vocabulary::Role>, Role> = BTreeMap::new();
        for backend in self.processes() {
            let role = roles.entry(backend.identity.role.into()).or_default();
            role.processes += 1;
            role.class.merge(&backend.class);
            role.outside.merge(&backend.outside);
            role.startup_ledger.merge(&backend.startup);
            role.faults.add(backend.faults);
            role.idle.count += backend.idle.count;
            role.idle.total_ns += backend.idle.total_ns;
            role.idle.max_ns = role.idle.max_ns.max(backend.idle.max_ns);
            for (event, n) in &backend.samples {
                *role.samples.entry(*event).or_default() += n;
            }
            if let Some(ns) = backend.startup_ns {
                role.startup.record(ns);
            }
        }
        roles
            .into_iter()
            .map(|(name, role)| model::Role {
                role: name,
                processes: role.processes,
                statements: role.class.latency.count(),
                latency: role.class.latency.summary(),
                startup: role.startup.summary(),
                ledger: role.class.ledger.model(names.major),
                outside: role.outside.model(names.major),
                startup_ledger: role.startup_ledger.model(names.major),
                idle_in_transaction: idle_model(&role.idle),
                cpu_samples: names.named(&merged(&role.samples, &role.class.samples)),
                faults: faults::model(role.faults),
            })
            .collect()
    }

    fn queries(&self, names: Names<'_>) -> Vec<model::Query> {
        let mut queries: Vec<_> = self.queries.iter().collect();
        queries.sort_by_key(|(key, query)| (std::cmp::Reverse(query.class.ledger.wall_ns), *key));
        queries
            .into_iter()
            .map(|((text, owner), query)| {
                let class = &query.class;
                let text = names.texts.get(text);
                let (database, user) = names.owner(owner);
                model::Query {
                    query_id: text.query_id.clone(),
                    query_id_source: text.source.into(),
                    query: text.text.clone(),
                    cut: text.cut,
                    database,
                    user,
                    calls: class.latency.count(),
                    errors: class.errors,
                    sent_bytes: class.sent_bytes,
                    latency: class.latency.summary(),
                    ledger: class.ledger.model(names.major),
                    cpu_samples: names.named(&class.samples),
                    worker_processes: query.worker_processes,
                    workers: query.workers.model(names.major),
                    io: query.io.as_ref().map(|io| io.model()).unwrap_or_default(),
                    faults: faults::model(query.faults),
                }
            })
            .collect()
    }

    fn unfinished(&self, names: Names<'_>) -> Vec<model::Unfinished> {
        let mut unfinished: Vec<_> = self
            .unfinished
            .iter()
            .map(|open| {
                let (database, user) = names.owner(open.owner);
                model::Unfinished {
                    pid: open.pid,
                    database,
                    user,
                    query: open.query.clone(),
                    elapsed_ns: open.elapsed_ns,
                    began_before: open.began_before,
                    ledger: open.ledger.model(names.major),
                }
            })
            .collect();
        unfinished.sort_by_key(|open| std::cmp::Reverse(open.elapsed_ns));
        unfinished
    }

    fn fsync(&self) -> model::Fsync {
        let mut all = Histogram::new();
        let mut errors = 0;
        let mut by: Vec<_> = self.syncs.iter().collect();
        by.sort_by(|(a, x), (b, y)| (y.latency.sum(), a.pid, &a.file).cmp(&(x.latency.sum(), b.pid, &b.file)));
        let by = by
            .into_iter()
            .map(|(key, syncs)| {
                all.merge(&syncs.latency);
                errors += syncs.errors;
                model::FsyncBy {
                    role: key.role.into(),
                    pid: key.pid,
                    syscall: key.call.into(),
                    file_kind: key.kind.into(),
                    file: key.file.clone(),
                    relation: None,
                    count: syncs.latency.count(),
                    errors: syncs.errors,
                    latency: syncs.latency.summary(),
                }
            })
            .collect();
        model::Fsync { latency: all.summary(), errors, by }
    }
}

impl Names<'_> {
    /// Samples by the name of their wait event.
    fn named(&self, samples: &BTreeMap<u32, u64>) -> BTreeMap<String, u64> {
        let mut named = BTreeMap::new();
        for (event, n) in samples {
            let event = wait_event::decode(self.major, *event);
            let name = match (event.class, event.event) {
                (Some(class), Some(event)) => format!("{class}:{event}"),
                _ => String::new(),
            };
            *named.entry(name).or_default() += n;
        }
        named
    }
}

fn process(backend: &Process, names: Names<'_>) -> model::Backend {
    let identity = &backend.identity;
    let syncs = &backend.syncs.latency;
    model::Backend {
        pid: backend.pid,
        role: identity.role.into(),
        leader: identity.leader,
        namespace_pid: backend.namespace_pid,
        database: identity.database.clone(),
        user: identity.user.clone(),
        application_name: identity.application_name.clone(),
        statements: backend.class.latency.count(),
        errors: backend.class.errors,
        latency: backend.class.latency.summary(),
        ledger: backend.class.ledger.model(names.major),
        outside: backend.outside.model(names.major),
        startup_ns: backend.startup_ns,
        startup: backend.startup.model(names.major),
        idle_in_transaction: idle_model(&backend.idle),
        faults: faults::model(backend.faults),
        fsync: model::BackendFsync { count: syncs.count(), total_ns: syncs.sum(), max_ns: syncs.max() },
        alive: backend.alive,
    }
}

fn merged(one: &BTreeMap<u32, u64>, two: &BTreeMap<u32, u64>) -> BTreeMap<u32, u64> {
    let mut all = one.clone();
    for (event, n) in two {
        *all.entry(*event).or_default() += n;
    }
    all
}

fn idle_model(idle: &IdleInTransaction) -> model::IdleInTransaction {
    model::IdleInTransaction { count: idle.count, total_ns: idle.total_ns, max_ns: idle.max_ns }
}
