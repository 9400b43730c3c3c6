//! A disk of our own: a file system on a loop device that can be made slow for everybody, the kernel's flusher included,
//! be allowed little dirty memory, and need its pages unchanged while they are written. Only this device is changed, and
//! what is changed is undone at the end.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xtask::cluster::{Cluster, real_temp_dir, unprivileged_user};

/// Limits of the root group of cgroup version 1, where the flusher is; version 2 has none for its root.
const LIMIT: &str = "/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device";

pub struct SlowDisk {
    pub dir: PathBuf,
    /// `major:minor`, and the name.
    pub number: String,
    pub name: String,
    _temp: tempfile::TempDir,
}

impl SlowDisk {
    /// `stable`: pages must not change while they are written.
    pub fn mount(stable: bool) -> Result<Self, String> {
        Self::make(stable, &["-O", "^has_journal"], "noatime")
    }

    /// With a small journal, through which all data go.
    pub fn journaled() -> Result<Self, String> {
        Self::make(false, &["-J", "size=4"], "noatime,data=journal")
    }

    fn make(stable: bool, features: &[&str], options: &str) -> Result<Self, String> {
        if !Path::new(LIMIT).exists() {
            return Err(format!("there is no {LIMIT}, which holds the flusher back too"));
        }
        let temp = tempfile::Builder::new().prefix("pgstrobe-slow-").tempdir_in(real_temp_dir());
        let temp = temp.map_err(|error| error.to_string())?;
        let (image, dir) = (temp.path().join("image"), temp.path().join("mount"));
        let file = fs::File::create(&image).and_then(|file| file.set_len(512 << 20));
        let open = |()| fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755));
        file.and_then(|()| fs::create_dir(&dir)).and_then(open).map_err(|error| error.to_string())?;
        let lazy = ["-E", "lazy_itable_init=0,lazy_journal_init=0"];
        call(Command::new("mkfs.ext4").args(["-q", "-F"]).args(features).args(lazy).arg(&image))?;
        let device = call(Command::new("losetup").args(["--find", "--show"]).arg(&image))?;
        let name = device.trim().trim_start_matches("/dev/").to_owned();
        let number = fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap_or_default().trim().to_owned();
        let disk = Self { dir, number, name, _temp: temp };
        // The kernel asks for this as it mounts.
        let needed = fs::write(format!("/sys/block/{}/queue/stable_writes", disk.name), if stable { "1" } else { "0" });
        if stable && needed.is_err() {
            return Err("queue/stable_writes cannot be set".into());
        }
        disk.unlimited();
        call(Command::new("mount").args(["-t", "ext4", "-o", options]).arg(device.trim()).arg(&disk.dir))?;
        let (uid, gid) = unprivileged_user().map_err(|error| error.to_string())?;
        let space = disk.dir.join("space");
        fs::create_dir(&space).and_then(|()| chown(&space, Some(uid), Some(gid))).map_err(|e| e.to_string())?;
        Ok(disk)
    }

    /// A tablespace `slow` on it.
    pub fn tablespace(&self, cluster: &Cluster) {
        let sql = format!("CREATE TABLESPACE slow LOCATION '{}'", self.dir.join("space").display());
        cluster.psql(&sql).expect("a tablespace");
    }

    /// So many bytes a second are written to it at the most.
    pub fn limit_pace(&self, bytes: u64) {
        fs::write(LIMIT, format!("{} {bytes}", self.number)).expect(LIMIT);
    }

    /// So much memory may be dirty for it; an error where the kernel has no such limit (before 6.2).
    pub fn limit_dirty(&self, bytes: u64) -> Result<(), String> {
        for (file, value) in [("strict_limit", 1), ("max_bytes", bytes)] {
            let path = format!("/sys/class/bdi/{}/{file}", self.number);
            fs::write(&path, value.to_string()).map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(())
    }

    /// The same as the kernel keeps it: in millionths of what may be dirty on the host, which changes with the free memory.
    pub fn dirty_millionths(&self) -> u64 {
        let path = format!("/sys/class/bdi/{}/max_ratio_fine", self.number);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        text.trim().parse().unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// Writes all that is dirty on it.
    pub fn sync(&self) {
        call(Command::new("sync").arg("--file-system").arg(&self.dir)).expect("sync");
    }

    /// Freezes the file system until the value is dropped.
    pub fn freeze(&self) -> Frozen {
        call(Command::new("fsfreeze").arg("--freeze").arg(&self.dir)).expect("fsfreeze");
        Frozen(self.dir.clone())
    }

    /// Sectors of 512 bytes written to it so far.
    pub fn sectors_written(&self) -> u64 {
        sectors_written(&self.name)
    }

    fn unlimited(&self) {
        let _ = fs::write(LIMIT, format!("{} 0", self.number));
        for (file, value) in [("strict_limit", "0"), ("max_ratio", "100")] {
            let _ = fs::write(format!("/sys/class/bdi/{}/{file}", self.number), value);
        }
    }
}

/// A frozen file system.
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = call(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0)) {
            eprintln!("{error}");
        }
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        self.unlimited();
        for command in [
            Command::new("umount").arg("--lazy").arg(&self.dir),
            // Takes effect with its last user.
            Command::new("losetup").arg("--detach").arg(format!("/dev/{}", self.name)),
        ] {
            if let Err(error) = call(command) {
                eprintln!("{error}");
            }
        }
        let _ = fs::write(format!("/sys/block/{}/queue/stable_writes", self.name), "0");
    }
}

/// Sectors of 512 bytes written to a device so far.
pub fn sectors_written(name: &str) -> u64 {
    let stat = fs::read_to_string(format!("/sys/block/{name}/stat")).expect("the device's statistics");
    stat.split_whitespace().nth(6).and_then(|word| word.parse().ok()).expect("sectors written")
}

fn call(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { Err(said()) }
}
