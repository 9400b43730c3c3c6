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

/// Where it shows them by name, partitions included.
const BY_NAME: &str = "/sys/class/block";

/// A disk whose requests can be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub name: String,
    /// Major number × 2²⁰ + minor number, as the kernel has it.
    pub number: u32,
}

impl std::str::FromStr for Disk {
    type Err = String;

    /// `sda`, `/dev/sda`, or a link to it.
    fn from_str(given: &str) -> Result<Self, String> {
        let path = Path::new("/dev").join(given);
        let path = fs::canonicalize(&path).unwrap_or(path);
        let name = path.strip_prefix("/dev").unwrap_or(&path).to_string_lossy().replace('/', "!");
        let dir = Path::new(BY_NAME).join(&name);
        let number = fs::read_to_string(dir.join("dev")).ok();
        let number = number.as_deref().and_then(|number| number.trim().split_once(':'));
        let number = number.and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
        let Some((major, minor)) = number else { return Err("there is no such block device".into()) };
        if dir.join("partition").exists() {
            let whole = fs::canonicalize(&dir).ok().and_then(|dir| Some(dir.parent()?.file_name()?.to_owned()));
            let whole = whole.unwrap_or_default();
            return Err(format!("a partition: requests are those of the whole disk, {}", whole.to_string_lossy()));
        }
        // Only devices that queue requests have this directory (block/blk-mq-sysfs.c); dm, md, zram pass bios on.
        if !dir.join("mq").is_dir() {
            let below = fs::read_dir(dir.join("slaves")).into_iter().flatten().flatten();
            let below: Vec<_> = below.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            let below = if below.is_empty() { String::new() } else { format!(": choose among {}", below.join(", ")) };
            return Err(format!("it has no queue of requests of its own{below}"));
        }
        Ok(Self { name, number: major << 20 | minor })
    }
}

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
    fn a_disk_is_told_by_its_name_or_its_path() {
        for given in ["no-such-disk", "", "../etc/passwd", "/dev/null"] {
            assert_eq!(given.parse::<Disk>(), Err("there is no such block device".into()), "{given:?}");
        }
        let entries = fs::read_dir(BY_NAME).into_iter().flatten().flatten();
        for name in entries.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
            match name.parse::<Disk>() {
                Ok(disk) => {
                    assert_eq!(
                        name_of(&format!("{}:{}", disk.number >> 20, disk.number & 0xf_ffff)),
                        Some(name.clone())
                    );
                    assert_eq!(format!("/dev/{name}").parse(), Ok(disk));
                }
                Err(reason) => assert!(reason.contains("partition") || reason.contains("queue"), "{name}: {reason}"),
            }
        }
    }

    #[test]
    fn names_what_is_there() {
        assert_eq!(text(b"259:0\0\0"), "259:0");
        assert!(disk_of(Path::new("/")).is_some());
        assert_eq!(disk_of(Path::new("/no/such/file")), None);
        assert_eq!(name_of("btrfs-1"), None);
        assert_eq!(cgroup_path(u64::MAX), None);
    }
}
