//! `pgstrobe trace` as a user runs it: what it writes, and how it ends.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use pgstrobe::report::trace::{Begin, End, Line, Request};
use xtask::cluster::Cluster;
use xtask::loop_disk::Stat;

use crate::attached::Running;
use crate::profile::{logs, pgstrobe};

/// A running `pgstrobe trace`, attached.
pub struct Trace {
    running: Running,
    json: PathBuf,
    server_log: PathBuf,
}

/// What it wrote, as JSON lines.
pub struct Traced {
    pub begin: Begin,
    pub requests: Vec<Request>,
    pub end: End,
    /// What it said on the standard error, and its exit code.
    pub said: String,
    pub code: Option<i32>,
}

impl Trace {
    /// Returns once it traces. Several of one cluster have names of their own.
    pub fn start(cluster: &Cluster, name: &str, args: &[&str]) -> Self {
        let (json, server_log) = (cluster.dir.join(format!("{name}.json")), cluster.log_path());
        let mut command = pgstrobe();
        command.args(["trace", "--pid", &cluster.pid().to_string(), "-o"]).arg(&json).args(args).stdout(Stdio::null());
        let running = Running::start(&mut command, || logs(&server_log));
        Self { running, json, server_log }
    }

    /// Ctrl-C, then what it wrote.
    pub fn stop(mut self) -> Traced {
        // What is just complete may be on its way.
        std::thread::sleep(Duration::from_millis(100));
        self.running.child.signal(libc::SIGINT);
        let picture = |trace: &Self| format!("{}\n{}", trace.running.said(), logs(&trace.server_log));
        let Some(status) = self.running.wait() else { panic!("it does not end on SIGINT\n{}", picture(&self)) };
        std::thread::sleep(Duration::from_millis(50));
        println!("{}", picture(&self));
        Traced::read(&self.json, self.running.said(), status)
    }

    pub fn kill(self) -> ExitStatus {
        self.running.kill()
    }
}

impl Traced {
    fn read(json: &Path, said: String, status: ExitStatus) -> Self {
        let text = std::fs::read_to_string(json).expect("the trace");
        let mut lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let Some(Line::End(end)) = lines.pop() else { panic!("the last line is not the end: {text}") };
        let mut lines = lines.into_iter();
        let Some(Line::Begin(begin)) = lines.next() else { panic!("the first line is not the beginning: {text}") };
        let request = |line| match line {
            Line::Request(request) => request,
            other => panic!("in the middle: {other:?}"),
        };
        Self { begin, requests: lines.map(request).collect(), end: *end, said, code: status.code() }
    }

    pub fn of(&self, device: &str) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |request| request.device == device)
    }

    /// The requests of a device as the kernel's statistics count them.
    pub fn stat(&self, device: &str) -> Stat {
        let sum = |operations: &[&str]| {
            let of = self.of(device).filter(|one| operations.contains(&one.operation.as_str()));
            of.fold((0, 0), |(n, bytes), one| (n + 1, bytes + one.bytes))
        };
        let (reads, read_bytes) = sum(&["read"]);
        let (writes, written_bytes) = sum(&["write", "sync"]);
        let (discards, discarded_bytes) = sum(&["discard"]);
        let (flushes, _) = sum(&["flush"]);
        Stat { reads, read_bytes, writes, written_bytes, discards, discarded_bytes, flushes }
    }

    pub fn lost(&self) -> u64 {
        self.end.coverage.lost.values().sum()
    }
}
