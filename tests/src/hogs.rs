//! Processes that want a CPU all the time and have nothing to do with the server.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use xtask::children::tie;

/// What they are called.
pub const HOG: &str = "greedy-batch";

pub struct Hogs {
    children: Vec<Child>,
}

impl Hogs {
    /// `dir` holds the name they run under.
    pub fn start(count: usize, dir: &Path) -> Self {
        let program = dir.join(HOG);
        if !program.exists() {
            std::os::unix::fs::symlink("/bin/sh", &program).expect("a name for the shell");
        }
        let mut hogs = Self { children: Vec::new() };
        for _ in 0..count {
            let mut command = Command::new(&program);
            command.args(["-c", "while :; do :; done"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // A session of its own for each, as services have: the kernel may share the CPUs out by session
            // (sched_autogroup_enabled), and each backend of Postgres has one.
            // SAFETY: setsid is async-signal-safe.
            unsafe {
                command.pre_exec(|| match libc::setsid() {
                    -1 => Err(std::io::Error::last_os_error()),
                    _ => Ok(()),
                })
            };
            hogs.children.push(tie(&mut command, libc::SIGKILL).spawn().expect("a busy shell"));
        }
        hogs
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = (child.kill(), child.wait());
        }
    }
}
