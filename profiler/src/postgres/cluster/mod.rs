//! Finds the servers of this host from /proc alone: no connection, no configuration, no password.
//!
//! A server in a container is found as any other. Its files are opened through /proc/PID/root, /proc/PID/cwd and
//! /proc/PID/exe, never by the path it uses itself, which may mean another file here.

mod choose;
mod kinship;
mod proc;

use std::{
    collections::HashMap,
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use super::{
    binary::{read_regular, version_text},
    patience::{Domain, Patience},
};
pub use choose::{Choice, ChooseError, choose, choose_all};
pub use kinship::{Kinship, kinship, now_ticks};
use proc::Stat;
pub use proc::namespace_pid;

/// File names of a server's executable.
const BINARY_NAMES: [&str; 3] = ["postgres", "postmaster", "edb-postgres"];
/// How long a server's files are waited for: a busy disk may take some seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest text file read from a data directory, in bytes.
const LARGEST_TEXT: u64 = 64 << 10;
/// Largest executable read for its version, in bytes.
const LARGEST_BINARY: u64 = 1 << 30;

/// A server version. Before 10 the first two numbers are the major version: `major` 9 and `minor` 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version {
    pub major: u32,
    /// Unknown of a development build, or where the executable could not be read.
    pub minor: Option<u32>,
}

impl Version {
    /// `15.18`, `15`, `18beta1`; what follows is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (major, rest) = text.split_at(digits(text));
        let minor = rest.strip_prefix('.').and_then(|rest| rest[..digits(rest)].parse().ok());
        Some(Self { major: major.parse().ok()?, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            Some(minor) => write!(f, "{}.{minor}", self.major),
            None => write!(f, "{}", self.major),
        }
    }
}

/// Device and inode of a file: the same whatever path leads to it.
pub type FileId = (u64, u64);

/// A running postmaster and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// As this host (the mounted /proc) counts.
    pub postmaster_pid: u32,
    /// As the server's own pid namespace counts.
    pub namespace_pid: u32,
    pub version: Version,
    /// Absent while the server starts.
    pub port: Option<u16>,
    /// Directory of its Unix socket, as the server sees it.
    pub socket_directory: Option<PathBuf>,
    /// As the server sees it.
    pub data_directory: PathBuf,
    pub data_directory_id: FileId,
    /// `initdb`'s number for the cluster, shared with its standbys (first field of `ControlFileData`,
    /// src/include/catalog/pg_control.h).
    pub system_identifier: Option<u64>,
    /// As the server sees it; it may have been replaced since (a package upgrade).
    pub binary: PathBuf,
    pub binary_id: FileId,
    /// Start of the postmaster in clock ticks after boot: tells a process from a later one of the same pid.
    pub start_time_ticks: u64,
    /// Path of its control group, when it is not the root.
    pub cgroup: Option<String>,
    /// Identifier of its container, as far as the control group's path shows one.
    pub container: Option<String>,
}

impl Cluster {
    /// Its postmaster.
    pub fn process(&self) -> Process {
        Process { pid: self.postmaster_pid, start_time_ticks: self.start_time_ticks }
    }
}

/// A process, which its start tells from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    pub pid: u32,
    /// Clock ticks after boot.
    pub start_time_ticks: u64,
}

impl Process {
    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.start_time == self.start_time_ticks && !stat.is_dead())
    }
}

/// Versions of executables that were read, by what tells one file from another: to read one takes its time.
#[derive(Debug, Default)]
pub struct Versions(HashMap<(FileId, u64, i64), Option<Version>>);

impl Versions {
    /// The version of a process's executable, as far as that tells it.
    fn of(&mut self, pid: u32) -> Option<Version> {
        let exe = proc::path(pid, "exe");
        let meta = std::fs::metadata(&exe).ok()?;
        let key = (file_id(&meta), meta.len(), meta.mtime_nsec() ^ meta.mtime());
        *self
            .0
            .entry(key)
            .or_insert_with(|| read_regular(&exe, LARGEST_BINARY).ok().and_then(|data| binary_version(&data)))
    }
}

/// What [`discover`] found.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// In the order of their postmaster's pid.
    pub clusters: Vec<Cluster>,
    /// Processes looked at.
    pub looked_at: usize,
    /// Processes that look like a server but are none that can be used, and why.
    pub skipped: Vec<String>,
}

/// Looks at every process of the host.
pub fn discover() -> Discovery {
    let mut found = Discovery::default();
    let mut servers: HashMap<u32, (FileId, Stat)> = HashMap::new();
    let mut hidden: HashMap<u32, String> = HashMap::new();
    for pid in proc::pids() {
        found.looked_at += 1;
        match server_binary(pid) {
            Ok(Some(id)) => {
                if let Some(stat) = Stat::of(pid) {
                    servers.insert(pid, (id, stat));
                }
            }
            Ok(None) => {}
            Err(reason) => {
                hidden.insert(pid, reason);
            }
        }
    }
    for (pid, reason) in &hidden {
        // One line a server, not one a process of it.
        if !Stat::of(*pid).is_some_and(|stat| hidden.contains_key(&stat.parent)) {
            found.skipped.push(format!("process {pid}: {reason}"));
        }
    }
    let mut versions = Versions::default();
    for (&pid, &(id, stat)) in &servers {
        if servers.get(&stat.parent).is_some_and(|&(parent_id, _)| parent_id == id) || stat.is_dead() {
            continue;
        }
        match examine(pid, id, stat, &mut versions) {
            Ok(cluster) => found.clusters.push(cluster),
            Err(reason) => found.skipped.push(format!("process {pid}: {reason}")),
        }
    }
    found.clusters.sort_by_key(|cluster| cluster.postmaster_pid);
    found.skipped.sort();
    found
}

/// Every process that may be a postmaster, by its executable alone: no file of the server is opened.
pub fn postmasters() -> Vec<Process> {
    proc::pids().filter_map(postmaster).collect()
}

/// The process of this number, if it runs a server's executable and its parent does not run the same.
pub fn postmaster(pid: u32) -> Option<Process> {
    let id = server_binary(pid).ok()??;
    let stat = Stat::of(pid).filter(|stat| !stat.is_dead())?;
    let is_child = server_binary(stat.parent).is_ok_and(|parent| parent == Some(id));
    (!is_child).then_some(Process { pid, start_time_ticks: stat.start_time })
}

/// Everything about a process that may be a postmaster.
///
/// # Errors
/// Why it is none, or not yet.
pub fn look_at(process: Process, versions: &mut Versions) -> Result<Cluster, String> {
    let id = server_binary(process.pid)?.ok_or("it runs no server's executable")?;
    let stat = Stat::of(process.pid).filter(|stat| stat.start_time == process.start_time_ticks);
    examine(process.pid, id, stat.ok_or("it has ended")?, versions)
}

/// Identity of the executable, when it is a server's.
fn server_binary(pid: u32) -> Result<Option<FileId>, String> {
    let exe = proc::path(pid, "exe");
    match std::fs::read_link(&exe) {
        Ok(target) => {
            let path = without_deleted(&target);
            let named = path.file_name().is_some_and(|name| BINARY_NAMES.iter().any(|known| name == *known));
            if !named {
                return Ok(None);
            }
            let meta = std::fs::metadata(&exe).map_err(|error| format!("cannot look at its executable: {error}"))?;
            Ok(Some(file_id(&meta)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            // The short name is readable by all, unlike the link.
            let comm = std::fs::read_to_string(proc::path(pid, "comm")).unwrap_or_default();
            let named = BINARY_NAMES.contains(&comm.trim_end());
            if named {
                Err("looks like a server, but its executable may not be read: permission denied".into())
            } else {
                Ok(None)
            }
        }
        // Kernel threads have none, and processes end.
        Err(_) => Ok(None),
    }
}

/// What a postmaster's data directory says.
struct Directory {
    path: PathBuf,
    id: FileId,
    lock: LockFile,
    namespace_pid: u32,
    version: Version,
    system_identifier: Option<u64>,
}

/// Reads the data directory of a postmaster, or says why it is none.
fn read_directory(pid: u32) -> Result<Directory, String> {
    let cwd = proc::path(pid, "cwd");
    let meta = std::fs::metadata(&cwd).map_err(|error| format!("cannot look into its data directory: {error}"))?;
    let read = |name: &str| {
        let text =
            read_regular(&cwd.join(name), LARGEST_TEXT).map_err(|error| format!("cannot read {name}: {error}"))?;
        Ok::<_, String>(String::from_utf8_lossy(&text).into_owned())
    };
    let lock = LockFile::parse(&read("postmaster.pid")?).ok_or("its postmaster.pid is not one")?;
    let namespace_pid = proc::namespace_pid(pid).unwrap_or(pid);
    if lock.pid != i64::from(namespace_pid) {
        return Err(format!("not a postmaster: postmaster.pid names process {}", lock.pid));
    }
    let version = read("PG_VERSION")?;
    let version = Version::parse(version.trim()).ok_or("its PG_VERSION is not a version")?;
    let id = file_id(&meta);
    // The path of the lock file is the server's own; the link may be seen from elsewhere.
    let path = Some(PathBuf::from(&lock.data_directory))
        .filter(|path| std::fs::metadata(below_root(pid, path)).is_ok_and(|meta| file_id(&meta) == id))
        .or_else(|| std::fs::read_link(&cwd).ok())
        .ok_or("cannot tell its data directory")?;
    let system_identifier = system_identifier(&cwd);
    Ok(Directory { path, id, lock, namespace_pid, version, system_identifier })
}

/// Everything about one postmaster, or why it is none.
fn examine(pid: u32, binary_id: FileId, stat: Stat, versions: &mut Versions) -> Result<Cluster, String> {
    let directory = Patience::until(PATIENCE).within(Domain::Data, move || read_directory(pid));
    let directory = directory.ok_or("its data directory lies on a file system that does not answer")??;
    let from_file = directory.version;
    let exe = proc::path(pid, "exe");
    let binary = std::fs::read_link(&exe).map_err(|error| format!("cannot tell its executable: {error}"))?;
    let from_binary = versions.of(pid);
    let version = from_binary.filter(|version| version.major == from_file.major).unwrap_or(from_file);
    let cgroup = std::fs::read_to_string(proc::path(pid, "cgroup")).ok().and_then(|text| proc::cgroup(&text));
    Ok(Cluster {
        postmaster_pid: pid,
        namespace_pid: directory.namespace_pid,
        version,
        port: directory.lock.port,
        socket_directory: directory.lock.socket_directory,
        data_directory: directory.path,
        data_directory_id: directory.id,
        system_identifier: directory.system_identifier,
        binary: without_deleted(&binary),
        binary_id,
        start_time_ticks: stat.start_time,
        container: cgroup.as_deref().and_then(proc::container),
        cgroup,
    })
}

fn binary_version(data: &[u8]) -> Option<Version> {
    use object::{Object, ObjectSection};
    let elf = object::File::parse(data).ok()?;
    version_text(elf.section_by_name(".rodata")?.data().ok()?)
}

/// A byte copy of the first field of `global/pg_control`, in the byte order of this machine.
fn system_identifier(data_directory: &Path) -> Option<u64> {
    let control = read_regular(&data_directory.join("global/pg_control"), LARGEST_TEXT).ok()?;
    control.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

/// `postmaster.pid` (src/include/utils/pidfile.h). The later lines are filled in as the server starts.
#[derive(Debug, PartialEq, Eq)]
struct LockFile {
    /// Negative for a single-user backend.
    pid: i64,
    data_directory: String,
    port: Option<u16>,
    socket_directory: Option<PathBuf>,
}

impl LockFile {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        Some(Self {
            pid: lines.next()?.trim().parse().ok()?,
            data_directory: lines.next()?.into(),
            // The third line is the start time in seconds.
            port: lines.nth(1).and_then(|line| line.trim().parse().ok()).filter(|&port| port != 0),
            socket_directory: lines.next().map(str::trim_end).filter(|line| !line.is_empty()).map(PathBuf::from),
        })
    }
}

/// Live child processes of the postmaster, auxiliary ones included; dead ones not yet reaped are left out.
pub fn children(cluster: &Cluster) -> Vec<u32> {
    let parent = cluster.postmaster_pid;
    let listed = || proc::listed_children(parent);
    // The kernel's list may skip one while another ends: what either of two readings shows counts.
    let mut pids = match (listed(), listed()) {
        (Some(mut first), Some(second)) => {
            first.extend(second);
            first
        }
        _ => proc::pids().collect(),
    };
    pids.sort_unstable();
    pids.dedup();
    pids.retain(|&pid| Stat::of(pid).is_some_and(|stat| stat.parent == parent && !stat.is_dead()));
    pids
}

/// The pid on this host of a process of the cluster, from its pid in the server's own namespace: the leader that a
/// parallel worker names.
pub fn host_pid(cluster: &Cluster, namespace_pid: u32) -> Option<u32> {
    let mut pids = std::iter::once(cluster.postmaster_pid).chain(children(cluster));
    pids.find(|&pid| proc::namespace_pid(pid) == Some(namespace_pid))
}

/// Whether the same postmaster still runs, not a later process of its pid.
pub fn is_alive(cluster: &Cluster) -> bool {
    cluster.process().is_alive()
}

fn file_id(meta: &std::fs::Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

/// `path` of the server, as it is reached from here.
fn below_root(pid: u32, path: &Path) -> PathBuf {
    proc::path(pid, "root").join(path.strip_prefix("/").unwrap_or(path))
}

/// The kernel marks the executable of a replaced package.
fn without_deleted(path: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests;
