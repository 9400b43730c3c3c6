//! The witness of reads and writes of files: strace on every process of a cluster.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use xtask::cluster::Cluster;

use crate::witness::Strace;

/// What was done to one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCalls {
    pub reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub write_bytes: u64,
    pub truncates: u64,
    pub failed: u64,
}

pub struct StraceFiles {
    strace: Strace,
    data: PathBuf,
}

impl StraceFiles {
    pub fn start(cluster: &Cluster) -> Self {
        let calls = "pread64,preadv,read,pwrite64,pwritev,write,writev,ftruncate,truncate";
        Self { strace: Strace::start(cluster, calls), data: cluster.data.clone() }
    }

    /// By file below the data directory, by the name it had at the call.
    pub fn stop(self) -> BTreeMap<String, FileCalls> {
        let mut files: BTreeMap<String, FileCalls> = BTreeMap::new();
        let mut begun: HashMap<&str, (&str, &str)> = HashMap::new();
        let text = self.strace.stop();
        for line in text.lines() {
            // `4711 pread64(5</dir/data/base/5/16384>, ""..., 8192, 0) = 8192`, in two lines where another came between:
            // `4711 pread64(5</dir…>,  <unfinished ...>` and `4711 <... pread64 resumed>""..., 8192, 0) = 8192`.
            let Some((pid, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            let (call, path) = match rest.strip_prefix("<... ") {
                Some(_) => match begun.remove(pid) {
                    Some(call) => call,
                    None => continue,
                },
                None => {
                    let Some((call, rest)) = rest.split_once('(') else { continue };
                    if call == "truncate" {
                        // `truncate("base/5/16384", 0) = 0`, in the data directory.
                        let Some((path, _)) = rest[1..].split_once('"') else { continue };
                        if rest.contains("ENOENT") {
                            continue;
                        }
                        let file = files.entry(path.to_owned()).or_default();
                        match rest.contains(" = -1 ") {
                            true => file.failed += 1,
                            false => file.truncates += 1,
                        }
                        continue;
                    }
                    let Some(path) = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')) else { continue };
                    (call, path.0)
                }
            };
            if line.ends_with("<unfinished ...>") {
                begun.insert(pid, (call, path));
                continue;
            }
            let Ok(below) = std::path::Path::new(path).strip_prefix(&self.data) else { continue };
            let Some(result) = line.rsplit_once(" = ").and_then(|(_, result)| result.split(' ').next()) else {
                continue;
            };
            let Ok(result) = result.parse::<i64>() else { continue };
            let file = files.entry(below.to_string_lossy().into_owned()).or_default();
            let bytes = result.max(0) as u64;
            match call {
                _ if result < 0 => file.failed += 1,
                "ftruncate" => file.truncates += 1,
                "pread64" | "preadv" | "read" => {
                    file.reads += 1;
                    file.read_bytes += bytes;
                }
                _ => {
                    file.writes += 1;
                    file.write_bytes += bytes;
                }
            }
        }
        files
    }
}
