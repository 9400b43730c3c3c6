//! Processes that use a device past the page cache and have nothing to do with the server.

use std::path::Path;
use std::process::{Command, Stdio};

use xtask::children::Owned;
use xtask::loop_disk::LoopDisk;

use crate::cgroup::Cgroup;

/// What they are called.
pub const READER: &str = "greedy-reader";
pub const WRITER: &str = "greedy-writer";

pub struct Neighbours(#[allow(dead_code, reason = "held")] Vec<Owned>);

impl Neighbours {
    /// So many at a time; after every 20 reads of 256 KiB each pauses for so long. `dir` holds the name they run under.
    pub fn start(count: usize, pause_ms: u32, disk: &LoopDisk, dir: &Path, group: Option<&Cgroup>) -> Self {
        let program = named(dir, READER);
        let (reads, pause) = match pause_ms {
            0 => (1000, String::new()),
            ms => (20, format!("sleep {}.{:03}", ms / 1000, ms % 1000)),
        };
        let script = format!(
            "while :; do {} if={} of=/dev/null bs=256k count={reads} iflag=direct 2>/dev/null; {pause}\ndone",
            program.display(),
            disk.path().display()
        );
        Self::run(count, &script, group)
    }

    /// So many that write to the end of the disk, 1 MiB at a time.
    pub fn write(count: usize, disk: &LoopDisk, dir: &Path, group: Option<&Cgroup>) -> Self {
        let script = format!(
            "while :; do {} if=/dev/zero of={} bs=1M seek=312 count=190 oflag=direct conv=notrunc 2>/dev/null\ndone",
            named(dir, WRITER).display(),
            disk.path().display()
        );
        Self::run(count, &script, group)
    }

    fn run(count: usize, script: &str, group: Option<&Cgroup>) -> Self {
        let start = |_| {
            let mut shell = Command::new("sh");
            // Waits until it is in its group.
            shell.args(["-c", &format!("read go\n{script}")]).stdin(Stdio::piped());
            let mut shell = Owned::spawn(shell.stdout(Stdio::null()).stderr(Stdio::null()), libc::SIGKILL).expect("sh");
            if let Some(group) = group {
                group.add(&[shell.id()]);
            }
            drop(shell.child().stdin.take());
            shell
        };
        Self((0..count).map(start).collect())
    }
}

/// dd under a name of our own.
fn named(dir: &Path, name: &str) -> std::path::PathBuf {
    let program = dir.join(name);
    if !program.exists() {
        std::os::unix::fs::symlink("/bin/dd", &program).expect("a name for dd");
    }
    program
}
