//! pgstrobe itself, run as a user runs it: the binary of `PGSTROBE_BIN`, its arguments, its output, its exit code.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use pgstrobe::report::{document::Reports, model::Report};
use serde::de::DeserializeOwned;
use xtask::children::Owned;
use xtask::cluster::Cluster;

use crate::attached::Running;
use crate::witness::LIMIT;

pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PGSTROBE_BIN") {
        return path.into();
    }
    // Next to the tests when they are run by hand: target/PROFILE/deps/TEST.
    let own = std::env::current_exe().expect("own path");
    let path = own.ancestors().nth(2).expect("target directory").join("pgstrobe");
    assert!(path.is_file(), "set PGSTROBE_BIN, or build it: {} is not there", path.display());
    path
}

pub fn pgstrobe() -> Command {
    let mut command = Command::new(binary());
    command.stdin(Stdio::null());
    command
}

/// What a run that ended by itself left.
pub struct Refusal {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs pgstrobe to its end, which must come by itself.
pub fn refused(command: &mut Command) -> Refusal {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Owned::spawn(command, libc::SIGKILL).expect("pgstrobe starts");
    let stdout = collect(child.child().stdout.take().expect("stdout"));
    let stderr = collect(child.child().stderr.take().expect("stderr"));
    let status = child.wait(LIMIT);
    drop(child);
    let text = |thread: std::thread::JoinHandle<String>| thread.join().expect("reader");
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = status.unwrap_or_else(|| panic!("pgstrobe did not end by itself\n{stdout}\n{stderr}"));
    Refusal { code: status.code(), stdout, stderr }
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A running `pgstrobe report`, attached.
pub struct Profile {
    running: Running,
    json: PathBuf,
    text: PathBuf,
    server_log: PathBuf,
    pub attach_time: Duration,
}

impl Profile {
    /// Returns once every hook is attached.
    pub fn start(cluster: &Cluster, args: &[&str]) -> Self {
        Self::start_by(pgstrobe(), cluster, args)
    }

    /// The same by a command that becomes pgstrobe.
    pub fn start_by(command: Command, cluster: &Cluster, args: &[&str]) -> Self {
        let pid = cluster.pid().to_string();
        Self::of(command, &[&["--pid", &pid], args].concat(), &cluster.dir, cluster.log_path())
    }

    /// Of a server that the arguments choose; reports go into `dir`.
    pub fn of(mut command: Command, args: &[&str], dir: &Path, server_log: PathBuf) -> Self {
        let (json, text) = (dir.join("report.json"), dir.join("report.txt"));
        let _ = (std::fs::remove_file(&json), std::fs::remove_file(&text));
        command.args(["report", "-o"]).arg(&json).arg("-o").arg(&text).args(args).stdout(Stdio::null());
        let running = Running::start(&mut command, || logs(&server_log));
        let attach_time = running.attach_time;
        Self { running, json, text, server_log, attach_time }
    }

    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// How long its threads have waited for a CPU so far, in nanoseconds: so much later it may have done what it does by the
    /// clock.
    pub fn waited_ns(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("pgstrobe runs").flatten();
        let stat = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
        stat.filter_map(|stat| stat.split(' ').nth(1)?.parse::<u64>().ok()).sum()
    }

    /// Ctrl-C, then the one report it wrote.
    pub fn stop(self) -> Report {
        let mut reports = self.stop_all();
        assert_eq!(reports.len(), 1, "reports");
        reports.remove(0)
    }

    /// Ctrl-C, then the reports of all intervals.
    pub fn stop_all(self) -> Vec<Report> {
        self.documents()
    }

    /// Ctrl-C, then the reports of all servers.
    pub fn stop_of_all(self) -> Reports {
        let mut documents = self.documents();
        assert_eq!(documents.len(), 1, "documents");
        documents.remove(0)
    }

    /// Ctrl-C, then what it wrote as JSON.
    fn documents<T: DeserializeOwned>(mut self) -> Vec<T> {
        // What was just answered is on its way through the ring buffer.
        std::thread::sleep(Duration::from_millis(100));
        self.running.child.signal(libc::SIGINT);
        let status = self.running.wait();
        let Some(status) = status else { panic!("pgstrobe does not end on SIGINT\n{}", self.picture()) };
        assert_eq!(status.code(), Some(0), "exit code after SIGINT\n{}", self.picture());
        let json = std::fs::read(&self.json).unwrap_or_else(|e| panic!("no report: {e}\n{}", self.picture()));
        let reports = serde_json::Deserializer::from_slice(&json).into_iter().collect::<Result<Vec<T>, _>>();
        let reports = reports.unwrap_or_else(|e| panic!("bad JSON: {e}\n{}", self.picture()));
        // libtest shows this only when the test fails.
        println!("{}", self.picture());
        reports
    }

    /// The JSON as it was written.
    pub fn stop_raw(self) -> (Report, String) {
        let path = self.json.clone();
        let report = self.stop();
        (report, std::fs::read_to_string(path).expect("report"))
    }

    pub fn kill(self) -> ExitStatus {
        self.running.kill()
    }

    pub fn stderr(&self) -> String {
        self.running.said()
    }

    fn picture(&self) -> String {
        format!(
            "-- report\n{}\n-- stderr of {}\n{}\n{}",
            read(&self.text),
            self.running.child.name(),
            self.stderr(),
            logs(&self.server_log)
        )
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
}

/// What the kernel and the server logged last.
pub(crate) fn logs(server_log: &Path) -> String {
    let kernel = Command::new("dmesg").output().map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    format!("-- dmesg\n{}\n-- server log\n{}", tail(&kernel.unwrap_or_default(), 15), tail(&read(server_log), 15))
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
