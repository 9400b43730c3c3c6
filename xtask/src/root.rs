//! Programs in a root and a pid namespace of their own, as in a container: what they are and what they use is reached
//! from outside through /proc/PID/root only, and the pids they know are not those of this machine.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
    ptr,
};

use anyhow::{Context, Result};

/// Where the cluster's directory is for the programs inside.
pub const HOME: &str = "/var/lib/postgresql";

/// A root directory, and the directory of this machine that is its [`HOME`].
#[derive(Clone, Debug)]
pub struct Root {
    pub dir: PathBuf,
    pub home: PathBuf,
}

impl Root {
    /// The same file as the programs inside name it.
    pub fn inside(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.home).map_or_else(|_| path.to_path_buf(), |below| Path::new(HOME).join(below))
    }

    /// Has `command`, which names its program and its files as they are inside, run there as this user.
    pub fn enter<'a>(&self, command: &'a mut Command, (uid, gid): (u32, u32)) -> Result<&'a mut Command> {
        let users = format!("root:x:0:0::/:/bin/sh\npostgres:x:{uid}:{gid}::{HOME}:/bin/sh\n");
        fs::write(self.dir.join("etc/passwd"), users)?;
        // The statistics collector of 14 and before talks to itself over it.
        fs::write(self.dir.join("etc/hosts"), "127.0.0.1 localhost\n")?;
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
        let root = text(&self.dir)?;
        let mounts = [("/dev".as_ref(), "dev"), (self.home.as_path(), HOME.trim_start_matches('/'))];
        let mounts = mounts.map(|(from, to)| Ok::<_, anyhow::Error>((text(from)?, text(&self.dir.join(to))?)));
        let [dev, home] = mounts;
        let mounts = [dev?, home?];
        // SAFETY: only system calls, on texts made before the fork.
        unsafe {
            command.pre_exec(move || {
                let none = ptr::null();
                check(libc::unshare(libc::CLONE_NEWNS))?;
                check(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()))?;
                for (from, to) in &mounts {
                    check(libc::mount(from.as_ptr(), to.as_ptr(), none, libc::MS_BIND | libc::MS_REC, none.cast()))?;
                }
                check(libc::chroot(root.as_ptr()))?;
                check(libc::chdir(c"/var/lib/postgresql".as_ptr()))?;
                check(libc::setgroups(0, ptr::null()))?;
                check(libc::setgid(gid))?;
                check(libc::setuid(uid))
            });
        }
        Ok(command)
    }
}

/// Runs `start`; the processes it starts have a pid namespace of their own, in which the first is process 1.
pub fn in_pid_namespace<T>(start: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = File::open("/proc/thread-self/ns/pid")?;
    // SAFETY: concerns the children to come of this thread alone.
    check(unsafe { libc::unshare(libc::CLONE_NEWPID) }).context("a pid namespace")?;
    let started = start();
    // SAFETY: as above; the descriptor is open.
    check(unsafe { libc::setns(own.as_raw_fd(), libc::CLONE_NEWPID) }).context("leaving a pid namespace")?;
    started
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
