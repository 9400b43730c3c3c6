//! The few files of /proc that tell about a process (proc(5)).

use std::{io::Read as _, path::PathBuf};

/// `/proc/PID/name`.
pub(super) fn path(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// Every process there is; empty where /proc is not mounted.
pub(super) fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Parts of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub state: u8,
    pub parent: u32,
    /// Clock ticks after boot.
    pub start_time: u64,
}

impl Stat {
    pub fn of(pid: u32) -> Option<Self> {
        // At every tick: one read, without looking for the size that no such file has. It is a line of 52 numbers and a
        // name, which may be any bytes; a read gives all of it.
        let mut stat = [0; 2048];
        let len = std::fs::File::open(path(pid, "stat")).ok()?.read(&mut stat).ok()?;
        Self::parse(&stat[..len])
    }

    pub fn parse(stat: &[u8]) -> Option<Self> {
        // The name may hold spaces and parentheses: what follows the last one is regular.
        let after = stat.iter().rposition(|&byte| byte == b')')? + 1;
        let rest = std::str::from_utf8(&stat[after..]).ok()?;
        let mut words = rest.split_ascii_whitespace();
        let state = words.next()?.bytes().next()?;
        let parent = words.next()?.parse().ok()?;
        // Field 22; the parent is field 4.
        let start_time = words.nth(22 - 5)?.parse().ok()?;
        Some(Self { state, parent, start_time })
    }

    /// Ended, though perhaps not yet reaped.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// The pid in the innermost namespace of the process.
pub fn namespace_pid(pid: u32) -> Option<u32> {
    let status = std::fs::read(path(pid, "status")).ok()?;
    innermost_pid(&String::from_utf8_lossy(&status))
}

fn innermost_pid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

/// The kernel's own lists, one per thread of the parent, in kernels that keep them (`CONFIG_PROC_CHILDREN`).
pub(super) fn listed_children(pid: u32) -> Option<Vec<u32>> {
    let mut pids = Vec::new();
    for task in std::fs::read_dir(path(pid, "task")).ok()?.flatten() {
        let list = std::fs::read_to_string(task.path().join("children")).ok()?;
        pids.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Some(pids)
}

/// The most telling path of /proc/PID/cgroup: version 2, else memory or systemd's of version 1. None for the root.
pub(super) fn cgroup(text: &str) -> Option<String> {
    let mut best: Option<(u32, &str)> = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let rank = match controllers {
            "" if hierarchy == "0" => 3,
            "name=systemd" => 1,
            _ if controllers.split(',').any(|controller| controller == "memory") => 2,
            _ => 0,
        };
        if path.len() > 1 && rank > 0 && best.is_none_or(|(than, _)| rank > than) {
            best = Some((rank, path));
        }
    }
    best.map(|(_, path)| path.into())
}

/// The identifier (64 hexadecimal digits) that container engines put into the path: the innermost one.
pub(super) fn container(cgroup: &str) -> Option<String> {
    let mut words = cgroup.rsplit(|char: char| !char.is_ascii_alphanumeric());
    words.find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_any_name() {
        let rest = "S 7 3 3 0 -1 1 2 3 4 5 6 7 8 9 20 0 1 0 987654 1 2";
        let expected = Some(Stat { state: b'S', parent: 7, start_time: 987_654 });
        assert_eq!(Stat::parse(format!("3 (postgres) {rest}").as_bytes()), expected);
        assert_eq!(Stat::parse(format!("3 (a) b) (c) {rest}").as_bytes()), expected);
        let mut odd = b"3 (\xff\n) ".to_vec();
        odd.extend(rest.as_bytes());
        assert_eq!(Stat::parse(&odd), expected);
        for bad in ["", "3 (postgres)", "3 (postgres) S", "3 (postgres) S x", "3 postgres S 1"] {
            assert_eq!(Stat::parse(bad.as_bytes()), None, "{bad}");
        }
        let own = Stat::of(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(!own.is_dead() && own.start_time > 0);
    }

    #[test]
    fn innermost_namespace() {
        assert_eq!(innermost_pid("Name:\tx\nNSpid:\t4711\t12\t1\n"), Some(1));
        assert_eq!(innermost_pid("NSpid:\t4711\n"), Some(4711));
        assert_eq!(innermost_pid("NSpid:\n"), None);
        assert_eq!(innermost_pid(""), None);
        assert_eq!(namespace_pid(u32::MAX), None);
    }

    #[test]
    fn control_groups() {
        let id = "0123456789abcdef".repeat(4);
        let v2 = format!("0::/system.slice/docker-{id}.scope\n");
        assert_eq!(cgroup(&v2).as_deref().and_then(container), Some(id.clone()));
        let v1 = format!("9:name=systemd:/a\n7:blkio:/b\n3:cpu,memory:/kubepods/pod1/{id}\n0::/\n");
        assert_eq!(cgroup(&v1), Some(format!("/kubepods/pod1/{id}")));
        assert_eq!(cgroup("9:name=systemd:/\n0::/\n"), None);
        assert_eq!(cgroup("nonsense\n1:2\n"), None);
        assert_eq!(container("/system.slice/postgresql@15-main.service"), None);
    }
}
