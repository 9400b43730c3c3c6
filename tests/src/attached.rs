//! A command of pgstrobe that runs, attached, and what it says.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use xtask::children::Owned;
use xtask::tracepoints::{self, Kept};

use crate::profile::binary;
use crate::witness::LIMIT;

/// Kept until this process ends; without, tests take longer, and no more.
static KEPT: LazyLock<Option<Kept>> = LazyLock::new(|| tracepoints::keep(&binary()).ok());

pub(crate) struct Running {
    pub(crate) child: Owned,
    stderr: Arc<Mutex<String>>,
    pub(crate) attach_time: Duration,
}

impl Running {
    /// Returns once every hook is attached. `picture` is what to show if that fails, after what pgstrobe said.
    pub(crate) fn start(command: &mut Command, picture: impl Fn() -> String) -> Self {
        LazyLock::force(&KEPT);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = Owned::spawn(command, libc::SIGKILL).expect("pgstrobe starts");
        let stderr = Arc::new(Mutex::new(String::new()));
        let (pipe, said) = (child.child().stderr.take().expect("stderr"), stderr.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut said = said.lock().expect("stderr");
                said.push_str(&line);
                said.push('\n');
            }
        });
        let mut running = Self { child, stderr, attach_time: Duration::ZERO };
        while !running.said().contains("attached in") {
            if let Some(status) = running.child.exited() {
                std::thread::sleep(Duration::from_millis(50));
                panic!("pgstrobe ended with {status} before it was attached\n{}\n{}", running.said(), picture());
            }
            assert!(begun.elapsed() < LIMIT, "pgstrobe is not attached\n{}\n{}", running.said(), picture());
            std::thread::sleep(Duration::from_millis(5));
        }
        running.attach_time = begun.elapsed();
        running
    }

    /// What it said on the standard error so far.
    pub(crate) fn said(&self) -> String {
        self.stderr.lock().expect("stderr").clone()
    }

    pub(crate) fn wait(&mut self) -> Option<ExitStatus> {
        self.child.wait(LIMIT)
    }

    pub(crate) fn kill(mut self) -> ExitStatus {
        self.child.signal(libc::SIGKILL);
        self.wait().expect("SIGKILL ends it")
    }
}
