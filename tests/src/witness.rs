//! Independent witnesses: bpftrace and strace for syncs, the server's own log for durations.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use xtask::children::Owned;
use xtask::cluster::Cluster;

/// How long a witness or a server may take to do what it must do in the end. It is far beyond what a machine takes that is
/// busy, since nobody waits for it but a test that fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A script of bpftrace at work, and what it prints.
pub(crate) struct Bpftrace {
    child: Owned,
    lines: mpsc::Receiver<String>,
}

impl Bpftrace {
    /// Returns once it traces. The script must end with `TICK`.
    pub(crate) fn start(script: &str) -> Self {
        // It needs tracefs; where that is not mounted it gets one that only itself sees.
        let mount = "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &format!("{mount}; exec bpftrace -e \"$0\""), script]);
        command.env("BPFTRACE_MAP_KEYS_MAX", "65536");
        let errors = tempfile::tempfile().expect("a temporary file");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors.try_clone().expect("its handle"));
        let mut child = Owned::spawn(&mut command, libc::SIGKILL).expect("unshare starts");
        let stdout = child.child().stdout.take().expect("stdout");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        // The first tick proves that all probes are in place: the interval is attached last.
        loop {
            match lines.recv_timeout(LIMIT) {
                Ok(line) if line == "tick" => break,
                Ok(_) => {}
                Err(_) => panic!("bpftrace is not ready after {LIMIT:?}: {}", whole(errors)),
            }
        }
        std::thread::sleep(Duration::from_millis(300));
        Self { child, lines }
    }

    /// Ends it; all that it printed since it was ready.
    pub(crate) fn stop(self) -> impl Iterator<Item = String> {
        self.child.signal(libc::SIGINT);
        // Ends when bpftrace closes its output; a part of it would be no witness.
        std::iter::from_fn(move || {
            let _alive = &self.child;
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => {
                    assert!(!(line.starts_with("Lost ") && line.ends_with(" events")), "bpftrace: {line}");
                    Some(line)
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => None,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("bpftrace has not ended after {LIMIT:?}"),
            }
        })
    }
}

/// What a script ends with.
pub(crate) const TICK: &str = "interval:ms:200 { printf(\"tick\\n\"); }\nEND { printf(\"end\\n\"); }\n";

/// bpftrace counting the calls that sync, by pid and call.
pub struct BpftraceSyncs {
    bpftrace: Bpftrace,
}

const SYNC_SCRIPT: &str = r#"
tracepoint:syscalls:sys_enter_fsync { @n[pid, "fsync"] = count(); }
tracepoint:syscalls:sys_enter_fdatasync { @n[pid, "fdatasync"] = count(); }
tracepoint:syscalls:sys_enter_sync_file_range { @n[pid, "sync_file_range"] = count(); }
tracepoint:syscalls:sys_enter_msync { @n[pid, "msync"] = count(); }
"#;

impl BpftraceSyncs {
    /// Returns once it counts.
    pub fn start() -> Self {
        Self { bpftrace: Bpftrace::start(&format!("{SYNC_SCRIPT}{TICK}")) }
    }

    /// Counts by (pid, syscall), of the processes given.
    pub fn stop(self, pids: &BTreeSet<u32>) -> BTreeMap<(u32, String), u64> {
        let mut counts = BTreeMap::new();
        for line in self.bpftrace.stop() {
            // @n[4711, fdatasync]: 12
            let Some((key, count)) = line.strip_prefix("@n[").and_then(|rest| rest.split_once("]: ")) else { continue };
            let (pid, call) = key.split_once(", ").expect("bpftrace's key");
            let pid = pid.parse().expect("bpftrace's pid");
            if pids.contains(&pid) {
                counts.insert((pid, call.to_string()), count.trim().parse().expect("bpftrace's count"));
            }
        }
        counts
    }
}

fn whole(mut file: std::fs::File) -> String {
    let mut text = String::new();
    let _ = (file.seek(SeekFrom::Start(0)), file.read_to_string(&mut text));
    text
}

/// strace on every process of a cluster: which process synced which file, by which call.
pub struct StraceSyncs {
    strace: Strace,
    data: PathBuf,
}

/// strace on every process of a cluster and those to come.
pub(crate) struct Strace {
    child: Owned,
    output: PathBuf,
}

impl Strace {
    pub(crate) fn start(cluster: &Cluster, calls: &str) -> Self {
        let output = cluster.dir.join("strace.out");
        let mut command = Command::new("strace");
        // -y prints each descriptor with its path as it is at the call; -f follows the backends to come.
        command.args(["-f", "-y", "-q", "-s", "0", "-e"]);
        command.arg(format!("trace={calls}")).arg("-o").arg(&output);
        // A backend whose client has just left would be gone before strace comes to it.
        let client =
            |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|t| t.contains("[local]"));
        wait_until("the clients' backends have ended", || !cluster.pids().iter().any(client));
        let pids = cluster.pids();
        for pid in &pids {
            command.args(["-p", &pid.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Owned::spawn(&mut command, libc::SIGKILL).expect("strace starts");
        for pid in pids {
            wait_until(&format!("strace attaches to {pid}"), || traced(pid) || !alive(pid));
        }
        Self { child, output }
    }

    /// What it wrote.
    pub(crate) fn stop(mut self) -> String {
        self.child.signal(libc::SIGINT);
        self.child.wait(LIMIT).expect("strace ends");
        std::fs::read_to_string(&self.output).expect("strace's output")
    }
}

impl StraceSyncs {
    pub fn start(cluster: &Cluster) -> Self {
        let calls = "fsync,fdatasync,sync_file_range,msync,write,pwrite64,pwritev";
        Self { strace: Strace::start(cluster, calls), data: cluster.data.clone() }
    }

    /// Counts by (pid, syscall, file below the data directory). Writes stand under `write`.
    pub fn stop(self) -> BTreeMap<(u32, String, String), u64> {
        let Self { strace, data } = self;
        let text = strace.stop();
        let mut counts = BTreeMap::new();
        for (pid, call, file) in text.lines().filter_map(|line| Self::parse(&data, line)) {
            *counts.entry((pid, call, file)).or_default() += 1;
        }
        counts
    }

    /// `4711 fdatasync(5</dir/data/pg_wal/0000>) = 0`; what was interrupted is counted at its beginning only.
    fn parse(data: &std::path::Path, line: &str) -> Option<(u32, String, String)> {
        let (pid, rest) = line.split_once(' ')?;
        let (call, rest) = rest.trim_start().split_once('(')?;
        let (_, rest) = rest.split_once('<')?;
        let (path, _) = rest.split_once('>')?;
        let below = std::path::Path::new(path).strip_prefix(data).ok()?;
        let call = if call.starts_with("pwrite") { "write" } else { call };
        Some((pid.parse().ok()?, call.to_string(), below.to_string_lossy().into_owned()))
    }
}

fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn traced(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}

/// Waits for what must come true in the end.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_looking(what, Duration::from_millis(5), condition);
}

/// The same, looking that often.
pub fn wait_until_looking(what: &str, every: Duration, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "after {LIMIT:?} still not true: {what}");
        std::thread::sleep(every);
    }
}

/// Durations in nanoseconds that the server logged (`log_duration = on`), in the order of its log, from the byte `from` on:
/// from the message to before the answer is sent, each to a microsecond.
pub fn logged_durations(cluster: &Cluster, from: u64) -> Vec<u64> {
    let log = std::fs::read(cluster.log_path()).expect("server log");
    let text = String::from_utf8_lossy(&log[from as usize..]).into_owned();
    let millis = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("duration: ")?;
        rest.split(' ').next()?.parse::<f64>().ok()
    });
    millis.map(|millis| (millis * 1e6) as u64).collect()
}
