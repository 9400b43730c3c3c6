//! Disks as writeback knows them: by `major:minor` of the whole disk, or by a name of the file system's own.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Where the kernel shows block devices by number.
const BY_NUMBER: &str = "/sys/dev/block";
/// Where the hierarchies of cgroups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Cgroups looked at in search of one.
const MOST_CGROUPS: usize = 20_000;

/// A zero-terminated name out of the kernel.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// `major:minor` of the disk a file lies on; pages are written by disk, not by partition.
pub fn disk_of(path: &Path) -> Option<String> {
    let id = fs::metadata(path).ok()?.dev();
    let number = format!("{}:{}", libc::major(id), libc::minor(id));
    let device = Path::new(BY_NUMBER).join(&number);
    if !device.join("partition").exists() {
        return Some(number);
    }
    // The link leads to …/block/DISK/PARTITION.
    let disk = fs::canonicalize(device).ok()?;
    Some(fs::read_to_string(disk.parent()?.join("dev")).ok()?.trim().to_owned())
}

/// Name of a block device, such as `sda`.
pub fn name_of(number: &str) -> Option<String> {
    if !number.contains(':') {
        return None;
    }
    let link = fs::read_link(Path::new(BY_NUMBER).join(number)).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

/// What of a cluster lies on which disk: (`data`, `wal` or `tablespace`, its disk).
pub fn disks_of_cluster(data: &Path) -> Vec<(&'static str, String)> {
    let mut places: Vec<(&str, PathBuf)> = vec![("data", data.to_owned()), ("wal", data.join("pg_wal"))];
    let spaces = fs::read_dir(data.join("pg_tblspc")).into_iter().flatten().flatten();
    places.extend(spaces.map(|space| ("tablespace", space.path())));
    let mut out: Vec<(&str, String)> =
        places.into_iter().filter_map(|(what, path)| Some((what, disk_of(&path)?))).collect();
    out.sort();
    out.dedup();
    out
}

/// Path of a cgroup of version 2 by its inode.
pub fn cgroup_path(inode: u64) -> Option<String> {
    let mut roots = vec![PathBuf::from(CGROUPS), Path::new(CGROUPS).join("unified")];
    roots.retain(|root| root.join("cgroup.controllers").is_file());
    let root = roots.pop()?;
    let mut left = MOST_CGROUPS;
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        left = left.checked_sub(1)?;
        if fs::metadata(&dir).is_ok_and(|data| data.ino() == inode) {
            let path = dir.strip_prefix(&root).ok()?;
            return Some(format!("/{}", path.display()));
        }
        let below = fs::read_dir(&dir).into_iter().flatten().flatten();
        dirs.extend(below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_there() {
        assert_eq!(text(b"259:0\0\0"), "259:0");
        assert!(disk_of(Path::new("/")).is_some());
        assert_eq!(disk_of(Path::new("/no/such/file")), None);
        assert_eq!(name_of("btrfs-1"), None);
        let data = std::env::temp_dir();
        assert_eq!(disks_of_cluster(&data)[0].0, "data");
        assert_eq!(cgroup_path(u64::MAX), None);
    }
}
