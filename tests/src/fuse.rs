//! A file system that a process of our own serves (bindfs): another view of a directory.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use xtask::children::Owned;
use xtask::cluster::{real_temp_dir, unprivileged_user};

use crate::witness::wait_until;

/// In the order in which it must go: the process, which unmounts it, and the directories.
pub struct Fuse {
    server: Owned,
    dir: PathBuf,
    _temp: tempfile::TempDir,
}

impl Fuse {
    pub fn mount() -> Result<Self, String> {
        let temp = tempfile::Builder::new().prefix("pgstrobe-fuse-").tempdir_in(real_temp_dir());
        let temp = temp.map_err(|error| error.to_string())?;
        let (real, dir) = (temp.path().join("real"), temp.path().join("mount"));
        let (uid, gid) = unprivileged_user().map_err(|error| error.to_string())?;
        let space = real.join("space");
        std::fs::create_dir_all(&space)
            .and_then(|()| std::fs::create_dir(&dir))
            .and_then(|()| std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755)))
            .and_then(|()| chown(&space, Some(uid), Some(gid)))
            .map_err(|error| error.to_string())?;
        let mut bindfs = Command::new("bindfs");
        // Nothing is answered from what the kernel remembers (mount.fuse(8)): else a process that stands still seems to serve for
        // another second.
        bindfs.args(["-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0"]);
        bindfs.arg("-f").arg(&real).arg(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Owned::spawn(&mut bindfs, libc::SIGTERM).map_err(|error| format!("bindfs: {error}"))?;
        let fuse = Self { server, dir, _temp: temp };
        wait_until("the file system is mounted", || fuse.space().is_dir());
        Ok(fuse)
    }

    /// A directory of the server's user on it.
    pub fn space(&self) -> PathBuf {
        self.dir.join("space")
    }

    pub fn pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.dir).status();
        if !done.as_ref().is_ok_and(|status| status.success()) {
            eprintln!("umount {}: {done:?}", self.dir.display());
        }
    }
}
