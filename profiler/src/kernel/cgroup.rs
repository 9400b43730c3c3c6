//! CPU quotas of control groups, version 1 and 2.

use std::path::{Path, PathBuf};

/// Where the hierarchies are mounted on a host.
const ROOT: &str = "/sys/fs/cgroup";

/// Whether a cgroup of a process, or one above it, limits its CPU time.
pub fn has_quota(pid: u32) -> bool {
    let Ok(groups) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return false };
    groups.lines().any(|line| {
        // "HIERARCHY:CONTROLLERS:PATH"; version 2 has no controllers there.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return false };
        let roots: &[&str] = match controllers {
            "" => &["", "unified"],
            _ if controllers.split(',').any(|one| one == "cpu") => &["cpu", "cpu,cpuacct"],
            _ => return false,
        };
        roots.iter().any(|root| limited(&Path::new(ROOT).join(root), path))
    })
}

/// Whether a group below a mounted hierarchy, or one above it, has a quota.
fn limited(root: &Path, path: &str) -> bool {
    let group: PathBuf = root.join(path.trim_start_matches('/'));
    group.ancestors().take_while(|group| group.starts_with(root)).any(|group| {
        let read = |name: &str| std::fs::read_to_string(group.join(name)).unwrap_or_default();
        // "QUOTA PERIOD", or "max PERIOD"; in version 1 a number, or -1.
        let quota = |text: String| text.split_whitespace().next().and_then(|word| word.parse::<i64>().ok());
        quota(read("cpu.max")).is_some_and(|us| us > 0) || quota(read("cpu.cfs_quota_us")).is_some_and(|us| us > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_counts_for_all_groups_below_it() {
        let root = std::env::temp_dir().join(format!("pgstrobe-quota-{}", std::process::id()));
        let group = root.join("a/b");
        std::fs::create_dir_all(&group).unwrap();
        assert!(!limited(&root, "/a/b"));
        std::fs::write(root.join("a/cpu.max"), "max 100000\n").unwrap();
        assert!(!limited(&root, "/a/b"));
        std::fs::write(root.join("a/cpu.max"), "20000 100000\n").unwrap();
        assert!(limited(&root, "/a/b"));
        assert!(!limited(&root, "/c"));
        std::fs::remove_file(root.join("a/cpu.max")).unwrap();
        std::fs::write(group.join("cpu.cfs_quota_us"), "-1\n").unwrap();
        assert!(!limited(&root, "/a/b"));
        std::fs::write(group.join("cpu.cfs_quota_us"), "50000\n").unwrap();
        assert!(limited(&root, "/a/b") && !limited(&root, "/a"));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
