//! A cluster whose WAL lies on a disk of its own that takes few writes a second: a file system on a loop device, held
//! back by the kernel's own I/O limit for control groups.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use xtask::cluster::{Cluster, real_temp_dir};

use crate::cgroup::Cgroup;

/// In the order in which it must go: the limit, the server, the file system.
pub struct SlowWal {
    limit: Cgroup,
    pub cluster: Cluster,
    disk: Disk,
}

impl SlowWal {
    /// Moves the WAL of a cluster there; as fast as any until [`Self::limit`].
    pub fn move_wal(mut cluster: Cluster) -> Result<Self, String> {
        let limit = Cgroup::new("io")?;
        let disk = Disk::mount()?;
        cluster.stop();
        let (from, to) = (cluster.data.join("pg_wal"), disk.dir.join("pg_wal"));
        call(Command::new("cp").arg("-a").arg(&from).arg(&to))?;
        fs::remove_dir_all(&from).and_then(|()| std::os::unix::fs::symlink(&to, &from)).map_err(|e| e.to_string())?;
        cluster.launch().map_err(|error| format!("{error:#}"))?;
        limit.add(&cluster.pids());
        Ok(Self { limit, cluster, disk })
    }

    /// From here on the server's processes, those to come included, may write so often. A sync of a page takes three:
    /// the page, and what the device is asked to keep.
    pub fn limit(&self, writes_a_second: u32) {
        self.limit.limit_writes(&self.disk.number, writes_a_second);
    }

    /// The same by bytes a second.
    pub fn limit_bytes(&self, bytes_a_second: u64) {
        self.limit.limit_written(&self.disk.number, bytes_a_second);
    }

    /// A directory of the server's own on that disk.
    pub fn directory(&self, name: &str) -> PathBuf {
        let dir = self.disk.dir.join(name);
        fs::create_dir(&dir).expect("a directory on the disk");
        let owner = fs::metadata(&self.cluster.data).expect("the data directory");
        std::os::unix::fs::chown(&dir, Some(owner.uid()), Some(owner.gid())).expect("its owner");
        dir
    }
}

/// A file with a file system in it.
struct Disk {
    dir: PathBuf,
    /// `major:minor` of the loop device.
    number: String,
    /// Not below the server's directory, which goes with the server.
    _temp: tempfile::TempDir,
}

impl Disk {
    fn mount() -> Result<Self, String> {
        let temp = tempfile::Builder::new().prefix("pgstrobe-disk-").tempdir_in(real_temp_dir());
        let temp = temp.map_err(|error| error.to_string())?;
        let (image, dir) = (temp.path().join("image"), temp.path().join("mount"));
        let file = fs::File::create(&image).and_then(|file| file.set_len(512 << 20));
        let made = file.and_then(|()| fs::create_dir(&dir));
        let open = |()| fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755));
        made.and_then(open).map_err(|error| error.to_string())?;
        // No journal: a sync writes what it must, and nothing of a thread that the limit does not know.
        call(
            Command::new("mkfs.ext4").args(["-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=0"]).arg(&image),
        )?;
        // `mount` makes the loop device, and the kernel takes it away with the last user.
        call(Command::new("mount").args(["-t", "ext4", "-o", "loop,noatime"]).arg(&image).arg(&dir))?;
        let mut disk = Self { dir, number: String::new(), _temp: temp };
        let id = fs::metadata(&disk.dir).map_err(|error| error.to_string())?.dev();
        disk.number = format!("{}:{}", libc::major(id), libc::minor(id));
        Ok(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = call(Command::new("umount").arg("--lazy").arg(&self.dir)) {
            eprintln!("{error}");
        }
    }
}

fn call(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(said()) }
}
