//! Child processes that never outlive their owner, whatever ends it: a panic, Ctrl-C, SIGKILL.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A child in a process group of its own, killed with its group on drop.
///
/// The group keeps a terminal's Ctrl-C away from it: its owner decides in which order things end.
pub struct Owned {
    child: Child,
    what: String,
}

impl Owned {
    /// Starts `command`; `death` is the signal the child gets should this process vanish.
    pub fn spawn(command: &mut Command, death: i32) -> Result<Self> {
        let what = command.get_program().to_string_lossy().into_owned();
        command.process_group(0);
        let child = tie(command, death).spawn().with_context(|| format!("cannot start {what}"))?;
        Ok(Self { child, what })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the pid is ours until it has been waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits at most `limit`; `None` when the child still runs then.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn name(&self) -> &str {
        &self.what
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.exited().is_none() {
            // SAFETY: as above; negative means the whole group.
            unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
            let _ = self.child.wait();
        }
    }
}

/// Has the kernel send `death` to the child when the thread that starts it ends.
///
/// Runs after the change of user, which would reset the wish.
pub fn tie(command: &mut Command, death: i32) -> &mut Command {
    // SAFETY: prctl is async-signal-safe and the closure allocates nothing.
    unsafe {
        command.pre_exec(move || match libc::prctl(libc::PR_SET_PDEATHSIG, death) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    }
}

/// From here on SIGINT, SIGTERM and SIGHUP only set a flag, so that everything owned is dropped in order.
pub fn watch_interrupts() {
    extern "C" fn note(_: i32) {
        INTERRUPTED.store(true, Ordering::SeqCst);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, note as *const () as libc::sighandler_t) };
    }
}

pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// An error as soon as the user has asked to stop.
pub fn check_interrupt() -> Result<()> {
    anyhow::ensure!(!interrupted(), "interrupted");
    Ok(())
}

pub fn is_root() -> bool {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() == 0 }
}
