//! Calls that make data durable, by process, call and file.

use pgstrobe_common::record::{
    PATH_PART_LEN, PATH_PARTS, SYNC_FDATASYNC, SYNC_FILE_RANGE, SYNC_FSYNC, SYNC_MSYNC, SYNC_WRITE, Sync,
};

use serde::{Deserialize, Serialize};

use super::{Aggregate, MAX_SYNC_FILES, known};
use crate::{
    hist::Histogram,
    postgres::{
        backend::Role,
        relation::{self, RelationFile},
    },
    vocabulary::{FileKind, SyncCall},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct SyncKey {
    pub pid: u32,
    pub role: Role,
    pub call: SyncCall,
    pub kind: FileKind,
    pub file: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Syncs {
    pub latency: Histogram,
    pub errors: u64,
}

impl Aggregate {
    /// A synchronising call ended.
    pub fn sync(&mut self, record: &Sync, role: Role) {
        let path = path_of(&record.path);
        const S_IFMT: u32 = 0o170000;
        const S_IFDIR: u32 = 0o040000;
        let place = relation::classify(&path, &self.data_directory, record.file_mode & S_IFMT == S_IFDIR);
        let pid = record.header.pid;
        if role == Role::Checkpointer {
            self.checkpoints.synced(record.header.ts_ns, record.duration_ns, &place.file);
        }
        let key = SyncKey { pid, role, call: call(record.syscall), kind: place.kind, file: place.file };
        let is_known = self.account.syncs.contains_key(&key);
        self.new_files.extend(place.detail.filter(|_| !is_known && self.new_files.len() < MAX_SYNC_FILES));
        let backend = known(&mut self.live, &mut self.serial, pid);
        for syncs in [self.account.sync(key), &mut backend.process.syncs] {
            syncs.latency.record(record.duration_ns);
            syncs.errors += (record.ret < 0) as u64;
        }
    }

    /// Files of relations that are new in the table of syncs since the last call.
    pub fn new_files(&mut self) -> Vec<RelationFile> {
        std::mem::take(&mut self.new_files)
    }
}

impl Syncs {
    pub fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.errors += other.errors;
    }
}

/// Names from the file upward, as a path from the root downward.
pub(crate) fn path_of(parts: &[[u8; PATH_PART_LEN]; PATH_PARTS]) -> String {
    let mut names: Vec<_> = parts
        .iter()
        .map(|part| {
            let end = part.iter().position(|&b| b == 0).unwrap_or(part.len());
            String::from_utf8_lossy(&part[..end]).into_owned()
        })
        .take_while(|name| !name.is_empty())
        .collect();
    names.reverse();
    names.join("/")
}

/// What a `SYNC_` constant stands for.
fn call(syscall: u32) -> SyncCall {
    match syscall {
        SYNC_FSYNC => SyncCall::Fsync,
        SYNC_FDATASYNC => SyncCall::Fdatasync,
        SYNC_FILE_RANGE => SyncCall::SyncFileRange,
        SYNC_MSYNC => SyncCall::Msync,
        SYNC_WRITE => SyncCall::Write,
        _ => SyncCall::Unknown,
    }
}
