//! Asynchronous I/O of 18: how much is under way and how many io workers are at work, looked at with every tick.

use crate::{
    aggregate::Aggregate,
    postgres::{
        aio::{Method, Reader},
        backend::Role,
        server::Server,
        wait_event::{self, CLASS_ACTIVITY},
    },
    report::model::{self, Report},
};

pub struct Aio {
    postmaster: u32,
    /// None before 18.
    method: Option<Method>,
    reader: Result<Reader, String>,
    /// What an io worker shows while it has nothing to do.
    idle: u32,
    sums: Sums,
}

#[derive(Default)]
struct Sums {
    looks: u64,
    busy_looks: u64,
    under_way: u64,
    max: u64,
    process_max: u64,
    processes_max: u64,
    /// Looks at the workers, the sum of those at work, and looks in which all of them were.
    worker_looks: u64,
    workers_busy: u64,
    all_busy_looks: u64,
    /// Looks without an answer.
    unread: u64,
}

impl Aio {
    pub fn open(server: &Server) -> Self {
        let idle = wait_event::encode(server.cluster.version.major, CLASS_ACTIVITY, "IoWorkerMain").unwrap_or(0);
        let postmaster = server.cluster.postmaster_pid;
        Self { postmaster, method: Method::of(server), reader: Reader::of(server), idle, sums: Sums::default() }
    }

    pub fn look(&mut self, server: &Server, aggregate: &Aggregate) {
        if self.postmaster != server.cluster.postmaster_pid {
            *self = Self { sums: std::mem::take(&mut self.sums), ..Self::open(server) };
        }
        let (Some(method), Ok(reader)) = (self.method, &self.reader) else { return };
        let Some(depth) = reader.look() else {
            self.sums.unread += 1;
            return;
        };
        let sums = &mut self.sums;
        let all: u64 = depth.under_way.iter().map(|n| u64::from(*n)).sum();
        sums.looks += 1;
        sums.busy_looks += (all != 0) as u64;
        sums.under_way += all;
        sums.max = sums.max.max(all);
        sums.process_max = sums.process_max.max(depth.under_way.iter().copied().max().unwrap_or(0).into());
        sums.processes_max = sums.processes_max.max(depth.under_way.len() as u64);
        if method != Method::Worker || self.idle == 0 {
            return;
        }
        let is_worker = |pid: &u32| aggregate.identity(*pid).is_some_and(|identity| identity.role == Role::IoWorker);
        let workers: Vec<u32> = aggregate.live().filter(is_worker).collect();
        let busy = workers.iter().filter(|pid| server.wait_event(**pid) != self.idle).count();
        sums.worker_looks += 1;
        sums.workers_busy += busy as u64;
        sums.all_busy_looks += (busy == workers.len() && busy != 0) as u64;
    }

    pub fn fill(&mut self, report: &mut Report, server: &Server, waits: Vec<model::AioWait>) {
        let sums = std::mem::take(&mut self.sums);
        let Some(method) = self.method else { return };
        if let Err(reason) = &self.reader {
            report.coverage.notes.push(format!("the depth of asynchronous I/O is not shown: {reason}"));
        }
        let depth = self.reader.is_ok().then(|| sums.depth());
        let max_concurrency = server.variable("io_max_concurrency").unwrap_or(0);
        *report.coverage.lost.entry("aio_looks_failed".into()).or_default() += sums.unread;
        let setting = server.variable("io_workers").filter(|_| method == Method::Worker);
        let workers = setting.map(|setting| model::AioWorkers {
            setting,
            busy_mean: sums.workers_busy as f64 / sums.worker_looks.max(1) as f64,
            all_busy_looks: sums.all_busy_looks,
        });
        let method = method.name().into();
        report.storage.aio = Some(model::Aio { method, max_concurrency, depth, workers, waits });
    }
}

impl Sums {
    fn depth(&self) -> model::AioDepth {
        let over = |looks: u64| self.under_way as f64 / looks.max(1) as f64;
        model::AioDepth {
            looks: self.looks,
            busy_looks: self.busy_looks,
            mean: over(self.looks),
            busy_mean: over(self.busy_looks),
            max: self.max,
            process_max: self.process_max,
            processes_max: self.processes_max,
        }
    }
}
