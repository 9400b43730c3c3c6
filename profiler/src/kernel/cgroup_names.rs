//! Names of control groups by the inode number of their directory, which is what the kernel side reads.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// The two hierarchies a request can be told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hierarchy {
    /// That of version 2.
    Unified,
    /// That of the block controller: one of version 1, where that has it, else the above.
    Block,
}

/// A group as people know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Below the root of its hierarchy; `/` for the root.
    pub path: String,
    /// Container, pod, systemd unit, or the path.
    pub name: String,
}

/// All groups seen so far; those that are gone keep their name.
#[derive(Debug, Default)]
pub struct Names {
    unified: Option<PathBuf>,
    block: Option<PathBuf>,
    known: HashMap<(Hierarchy, u64), Group>,
}

/// Groups that are remembered at most.
const MOST: usize = 20_000;

impl Names {
    /// Looks where the hierarchies are mounted.
    pub fn open() -> Self {
        Self::of(&fs::read_to_string("/proc/mounts").unwrap_or_default())
    }

    fn of(mounts: &str) -> Self {
        let mut names = Self::default();
        for line in mounts.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, dir, kind, options, ..] = words[..] else { continue };
            match kind {
                "cgroup2" => _ = names.unified.get_or_insert_with(|| dir.into()),
                "cgroup" if options.split(',').any(|option| option == "blkio") => {
                    names.block.get_or_insert_with(|| dir.into());
                }
                _ => {}
            }
        }
        if names.block.is_none() {
            names.block = names.unified.clone();
        }
        names
    }

    fn root(&self, of: Hierarchy) -> Option<&Path> {
        match of {
            Hierarchy::Unified => self.unified.as_deref(),
            Hierarchy::Block => self.block.as_deref(),
        }
    }

    pub fn knows(&self, of: Hierarchy, id: u64) -> bool {
        self.known.contains_key(&(of, id))
    }

    /// What a group is called, if it is known.
    pub fn get(&self, of: Hierarchy, id: u64) -> Option<&Group> {
        self.known.get(&(of, id))
    }

    /// Learns the groups there are.
    pub fn refresh(&mut self) {
        for of in [Hierarchy::Unified, Hierarchy::Block] {
            let Some(root) = self.root(of).map(Path::to_owned) else { continue };
            let Ok(top) = fs::metadata(&root) else { continue };
            let mut open = vec![(root.clone(), top.ino())];
            while let Some((dir, id)) = open.pop() {
                if self.known.len() >= MOST {
                    return;
                }
                let path = format!("/{}", dir.strip_prefix(&root).unwrap_or(&dir).display());
                self.known.insert((of, id), Group { name: name(&path), path });
                let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
                let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
                open.extend(groups.map(|entry| (entry.path(), entry.ino())));
            }
        }
    }

    /// The group of a process, and the number of its group in the hierarchy of the block controller if what belongs to
    /// that belongs to the group alone: not the root, and no group above that stands for others as well.
    pub fn of_process(&self, pid: u32) -> (Group, Option<u64>) {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        // "HIERARCHY:CONTROLLERS:PATH"; version 2 has no controllers there.
        let path_of = |is: &dyn Fn(&str) -> bool| {
            let lines = text.lines().map(|line| line.splitn(3, ':').skip(1).collect::<Vec<_>>());
            lines.filter(|words| words.len() == 2 && is(words[0])).map(|words| words[1].to_owned()).next()
        };
        let block_v1 = self.block != self.unified;
        let unified = path_of(&|controllers| controllers.is_empty());
        let block = match block_v1 {
            true => path_of(&|controllers| controllers.split(',').any(|one| one == "blkio")),
            false => unified.clone(),
        };
        let shown = unified.filter(|path| path != "/").or_else(|| block.clone()).unwrap_or_else(|| "/".into());
        let own = block.filter(|path| path != "/").and_then(|path| {
            let dir = self.block.as_ref()?.join(path.trim_start_matches('/'));
            // In version 2 a group has this file if the controller works on it by itself.
            (block_v1 || dir.join("io.stat").exists()).then(|| fs::metadata(dir).ok().map(|dir| dir.ino()))?
        });
        (Group { name: name(&shown), path: shown }, own)
    }
}

/// What a path of a group means: the container, the pod, the systemd unit; else the path.
pub fn name(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let pod = parts.iter().rev().find_map(|part| pod(part));
    let container = parts.iter().rev().find_map(|part| container(part));
    match (container, pod) {
        (Some(id), Some(pod)) => return format!("container {id} of pod {pod}"),
        (Some(id), None) => return format!("container {id}"),
        (None, Some(pod)) => return format!("pod {pod}"),
        (None, None) => {}
    }
    let unit = |part: &&&str| [".service", ".scope", ".mount", ".socket"].iter().any(|kind| part.ends_with(kind));
    match parts.iter().rev().find(unit) {
        Some(unit) => (*unit).to_owned(),
        None => path.to_owned(),
    }
}

/// `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, or the bare ID: its first twelve
/// digits, as the tools show it.
fn container(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit(['-', ':']).next()?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| &id[..12])
}

/// `podUID` or `kubepods-burstable-podUID.slice`, there with `_` for `-`.
fn pod(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = part.rsplit_once("pod").map(|(_, uid)| uid.replace('_', "-"))?;
    (uid.len() == 36 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_units_and_pods_are_told_by_their_path() {
        let id = "0123456789abcdef".repeat(4);
        let uid = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
        for (path, expected) in [
            (format!("/system.slice/docker-{id}.scope"), "container 0123456789ab".to_owned()),
            (format!("/docker/{id}"), "container 0123456789ab".to_owned()),
            (format!("/machine.slice/libpod-{id}.scope/container"), "container 0123456789ab".to_owned()),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{id}.scope",
                    uid.replace('-', "_")
                ),
                format!("container 0123456789ab of pod {uid}"),
            ),
            (format!("/kubepods/besteffort/pod{uid}/{id}"), format!("container 0123456789ab of pod {uid}")),
            (format!("/kubepods/pod{uid}"), format!("pod {uid}")),
            (
                "/system.slice/system-postgresql.slice/postgresql@15-main.service".into(),
                "postgresql@15-main.service".into(),
            ),
            ("/user.slice/user-0.slice/session-1.scope".into(), "session-1.scope".into()),
            ("/batch/night".into(), "/batch/night".into()),
            ("/".into(), "/".into()),
        ] {
            assert_eq!(name(&path), expected, "{path}");
        }
    }

    #[test]
    fn hierarchies_are_found_among_the_mounts() {
        let names = Names::of("cgroup /c/blkio cgroup rw,blkio 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\n");
        assert_eq!(names.root(Hierarchy::Block), Some(Path::new("/c/blkio")));
        assert_eq!(names.root(Hierarchy::Unified), Some(Path::new("/c/unified")));
        let names = Names::of("cgroup2 /c cgroup2 rw 0 0\n");
        assert_eq!(names.root(Hierarchy::Block), Some(Path::new("/c")));
    }
}
