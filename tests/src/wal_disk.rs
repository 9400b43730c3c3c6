//! A cluster whose WAL lies on a disk of its own.

use std::fs;
use std::process::Command;

use xtask::cluster::Cluster;
use xtask::loop_disk::LoopDisk;

/// In the order in which it must go: the server, the file system.
pub struct WalDisk {
    pub cluster: Cluster,
    pub disk: LoopDisk,
}

impl WalDisk {
    /// Moves the WAL of a cluster there.
    pub fn new(mut cluster: Cluster, disk: Result<LoopDisk, String>) -> Result<Self, String> {
        let mut disk = disk?;
        let dir = disk.mount()?;
        cluster.stop();
        let (from, to) = (cluster.data.join("pg_wal"), dir.join("pg_wal"));
        let copied = Command::new("cp").arg("-a").arg(&from).arg(&to).status().map_err(|error| error.to_string())?;
        if !copied.success() {
            return Err(format!("cp: {copied}"));
        }
        fs::remove_dir_all(&from).and_then(|()| std::os::unix::fs::symlink(&to, &from)).map_err(|e| e.to_string())?;
        cluster.launch().map_err(|error| format!("{error:#}"))?;
        Ok(Self { cluster, disk })
    }
}
