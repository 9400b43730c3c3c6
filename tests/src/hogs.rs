//! Processes that want a CPU all the time and have nothing to do with the server.

use std::path::Path;
use std::process::{Command, Stdio};

use xtask::children::Owned;

/// What they are called.
pub const HOG: &str = "greedy-batch";

pub struct Hogs {
    _children: Vec<Owned>,
}

impl Hogs {
    /// `dir` holds the name they run under.
    pub fn start(count: usize, dir: &Path) -> Self {
        let program = dir.join(HOG);
        if !program.exists() {
            std::os::unix::fs::symlink("/bin/sh", &program).expect("a name for the shell");
        }
        let hog = |_| {
            let mut command = Command::new(&program);
            command.args(["-c", "while :; do :; done"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Owned::spawn(&mut command, libc::SIGKILL).expect("a busy shell")
        };
        Self { _children: (0..count).map(hog).collect() }
    }
}
