//! Asynchronous I/O of 18: how much is under way and how many io workers are at work, looked at with every tick.

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::Aggregate,
    postgres::{
        aio::{Method, Reader},
        backend::Role,
        server::Server,
        wait_event::{self, CLASS_ACTIVITY},
    },
    report::model::{self, Report},
    time::Merge,
};

pub struct Aio {
    postmaster: u32,
    /// None before 18.
    method: Option<Method>,
    reader: Result<Reader, String>,
    /// What an io worker shows while it has nothing to do.
    idle: u32,
    /// Since the last cut.
    cut: Cut,
}

/// What was seen in all looks of a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    looks: u64,
    /// Looks with something under way.
    busy_looks: u64,
    /// Operations under way, the sum of all looks and the most in one: of all processes, of one, and how many processes.
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
        Self { postmaster, method: Method::of(server), reader: Reader::of(server), idle, cut: Cut::default() }
    }

    pub fn look(&mut self, server: &Server, aggregate: &Aggregate) {
        if self.postmaster != server.cluster.postmaster_pid {
            *self = Self { cut: std::mem::take(&mut self.cut), ..Self::open(server) };
        }
        let (Some(method), Ok(reader)) = (self.method, &self.reader) else { return };
        let Some(depth) = reader.look() else {
            self.cut.unread += 1;
            return;
        };
        self.cut.look(&depth.under_way);
        if method != Method::Worker || self.idle == 0 {
            return;
        }
        let is_worker = |pid: &u32| aggregate.identity(*pid).is_some_and(|identity| identity.role == Role::IoWorker);
        let workers: Vec<u32> = aggregate.live().filter(is_worker).collect();
        let busy = workers.iter().filter(|pid| server.wait_event(**pid) != self.idle).count();
        self.cut.look_at_workers(busy, workers.len());
    }

    /// What there was since the last cut.
    pub fn cut(&mut self) -> Cut {
        std::mem::take(&mut self.cut)
    }
}

impl Cut {
    /// Operations under way, by process.
    fn look(&mut self, under_way: &[u32]) {
        let all: u64 = under_way.iter().map(|n| u64::from(*n)).sum();
        self.looks += 1;
        self.busy_looks += (all != 0) as u64;
        self.under_way += all;
        self.max = self.max.max(all);
        self.process_max = self.process_max.max(under_way.iter().copied().max().unwrap_or(0).into());
        self.processes_max = self.processes_max.max(under_way.len() as u64);
    }

    fn look_at_workers(&mut self, busy: usize, all: usize) {
        self.worker_looks += 1;
        self.workers_busy += busy as u64;
        self.all_busy_looks += (busy == all && busy != 0) as u64;
    }

    /// `aio` says how the server makes its asynchronous I/O, `waits` is what the records told.
    pub fn fill(&self, report: &mut Report, server: &Server, aio: &Aio, waits: Vec<model::AioWait>) {
        let Some(method) = aio.method else { return };
        if let Err(reason) = &aio.reader {
            report.coverage.notes.push(format!("the depth of asynchronous I/O is not shown: {reason}"));
        }
        let depth = aio.reader.is_ok().then(|| self.depth());
        let max_concurrency = server.variable("io_max_concurrency").unwrap_or(0);
        *report.coverage.lost.entry("aio_looks_failed".into()).or_default() += self.unread;
        let setting = server.variable("io_workers").filter(|_| method == Method::Worker);
        let workers = setting.map(|setting| model::AioWorkers {
            setting,
            busy_mean: self.workers_busy as f64 / self.worker_looks.max(1) as f64,
            all_busy_looks: self.all_busy_looks,
        });
        let method = method.name().into();
        report.storage.aio = Some(model::Aio { method, max_concurrency, depth, workers, waits });
    }

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

impl Merge for Cut {
    fn merge(&mut self, later: Self) {
        self.looks += later.looks;
        self.busy_looks += later.busy_looks;
        self.under_way += later.under_way;
        self.max = self.max.max(later.max);
        self.process_max = self.process_max.max(later.process_max);
        self.processes_max = self.processes_max.max(later.processes_max);
        self.worker_looks += later.worker_looks;
        self.workers_busy += later.workers_busy;
        self.all_busy_looks += later.all_busy_looks;
        self.unread += later.unread;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_parts_are_the_whole() {
        let looked = |looks: &[&[u32]]| {
            let mut cut = Cut::default();
            looks.iter().for_each(|under_way| cut.look(under_way));
            cut.look_at_workers(looks.len(), 3);
            cut
        };
        let looks: [&[u32]; 5] = [&[3, 1], &[], &[7], &[1, 1, 1], &[]];
        let mut merged = looked(&looks[..2]);
        merged.merge(looked(&looks[2..]));
        assert_eq!((merged.workers_busy, merged.all_busy_looks), (5, 1));
        let depth = merged.depth();
        assert_eq!((depth.looks, depth.busy_looks, depth.max, depth.process_max, depth.processes_max), (5, 3, 7, 7, 3));
        assert_eq!(depth, looked(&looks).depth());
        let kept = serde_json::to_string(&merged).expect("plain data");
        assert_eq!(serde_json::from_str::<Cut>(&kept).expect("what was written"), merged);
    }
}
