//! Limits of memory cgroups, version 1 and 2, and how often they were met.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::cgroup_names;

/// Version 1 shows a number near 2⁶³ where there is no limit (`PAGE_COUNTER_MAX`, include/linux/page_counter.h).
const UNLIMITED: u64 = 1 << 60;

/// A group with a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryGroup {
    dir: PathBuf,
    pub version: u32,
    /// Below the root of its hierarchy.
    pub path: String,
    /// As people know it.
    pub name: String,
}

/// What a group shows of itself. Bytes, and counts since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub limit: Option<u64>,
    pub high: Option<u64>,
    pub usage: u64,
    pub anon: u64,
    pub shmem: u64,
    pub file: u64,
    pub limit_hits: u64,
    pub high_hits: u64,
    pub oom: u64,
    pub oom_kills: u64,
}

impl MemoryGroup {
    /// That of a process, or the one above it with the tightest limit; none where nothing limits it.
    pub fn of(pid: u32) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let (root, path, version) = place(&mounts, &groups)?;
        Self::below(&root, &path, version)
    }

    fn below(root: &Path, path: &str, version: u32) -> Option<Self> {
        let own = root.join(path.trim_start_matches('/'));
        let above = own.ancestors().take_while(|dir| dir.starts_with(root) && *dir != root);
        let limits = above.filter_map(|dir| {
            let group = Self { dir: dir.to_owned(), version, ..Self::default() };
            let usage = group.look();
            Some((usage.limit.into_iter().chain(usage.high).min()?, group))
        });
        // Of equals the nearest.
        let (_, mut group) = limits.min_by_key(|(limit, _)| *limit)?;
        group.path = format!("/{}", group.dir.strip_prefix(root).ok()?.display());
        group.name = cgroup_names::name(&group.path);
        Some(group)
    }

    pub fn look(&self) -> Usage {
        let read = |file: &str| fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let number = |file: &str| read(file).trim().parse::<u64>().ok();
        let limit = |file: &str| number(file).filter(|bytes| *bytes < UNLIMITED);
        let (stat, events) = (read("memory.stat"), read("memory.events"));
        if self.version == 1 {
            // What groups below use counts too.
            let oom = read("memory.oom_control");
            return Usage {
                limit: limit("memory.limit_in_bytes"),
                high: None,
                usage: number("memory.usage_in_bytes").unwrap_or(0),
                anon: value(&stat, "total_rss"),
                shmem: value(&stat, "total_shmem"),
                // Shared memory is among it.
                file: value(&stat, "total_cache").saturating_sub(value(&stat, "total_shmem")),
                limit_hits: number("memory.failcnt").unwrap_or(0),
                high_hits: 0,
                oom: 0,
                oom_kills: value(&oom, "oom_kill"),
            };
        }
        Usage {
            limit: limit("memory.max"),
            high: limit("memory.high"),
            usage: number("memory.current").unwrap_or(0),
            anon: value(&stat, "anon"),
            shmem: value(&stat, "shmem"),
            file: value(&stat, "file").saturating_sub(value(&stat, "shmem")),
            limit_hits: value(&events, "max"),
            high_hits: value(&events, "high"),
            oom: value(&events, "oom"),
            oom_kills: value(&events, "oom_kill"),
        }
    }
}

/// The number behind a name at the beginning of a line.
fn value(text: &str, name: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(known, _)| *known == name).find_map(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

/// Root of the hierarchy with the memory controller, path of the process's group in it, and the version.
fn place(mounts: &str, groups: &str) -> Option<(PathBuf, String, u32)> {
    let mounted = |kind: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, dir, of, options, ..] = words[..] else { return None };
            let fits = of == kind && (option.is_empty() || options.split(',').any(|one| one == option));
            fits.then(|| PathBuf::from(dir))
        })
    };
    // "HIERARCHY:CONTROLLERS:PATH"; version 2 has no controllers there.
    let path = |is: &dyn Fn(&str) -> bool| {
        let lines = groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        lines.filter(|(controllers, _)| is(controllers)).map(|(_, path)| path.to_owned()).next()
    };
    let first = path(&|controllers| controllers.split(',').any(|one| one == "memory"));
    match (first, mounted("cgroup", "memory")) {
        (Some(path), Some(root)) => Some((root, path, 1)),
        _ => Some((mounted("cgroup2", "")?, path(&|controllers| controllers.is_empty())?, 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_with_the_memory_controller_counts() {
        let both = "cgroup2 /c/unified cgroup2 rw 0 0\ncgroup /c/memory cgroup rw,relatime,memory 0 0\n";
        let groups = "4:memory:/a\n1:cpu,cpuacct:/b\n0::/d\n";
        assert_eq!(place(both, groups), Some(("/c/memory".into(), "/a".into(), 1)));
        let second = "cgroup2 /c cgroup2 rw 0 0\n";
        assert_eq!(place(second, "0::/system.slice/x\n"), Some(("/c".into(), "/system.slice/x".into(), 2)));
        assert_eq!(place("", groups), None);
    }

    #[test]
    fn the_tightest_limit_above_a_process_counts() {
        let root = std::env::temp_dir().join(format!("pgstrobe-memcg-{}", std::process::id()));
        let group = root.join("a/b");
        fs::create_dir_all(&group).unwrap();
        for (file, text) in [
            ("a/memory.max", "1000\n"),
            ("a/memory.events", "low 0\nhigh 3\nmax 7\noom 1\noom_kill 2\n"),
            ("a/memory.stat", "anon 10\nfile 700\nshmem 200\n"),
            ("a/memory.current", "990\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.high", "5000\n"),
        ] {
            fs::write(root.join(file), text).unwrap();
        }
        let found = MemoryGroup::below(&root, "/a/b", 2).unwrap();
        assert_eq!(found.path, "/a");
        let usage = found.look();
        assert_eq!((usage.limit, usage.high, usage.usage), (Some(1000), None, 990));
        assert_eq!((usage.limit_hits, usage.high_hits, usage.oom, usage.oom_kills), (7, 3, 1, 2));
        assert_eq!((usage.anon, usage.shmem, usage.file), (10, 200, 500));
        assert_eq!(MemoryGroup::below(&root, "/", 2), None);
        fs::write(group.join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        assert_eq!(MemoryGroup::below(&root, "/a/b", 1), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
