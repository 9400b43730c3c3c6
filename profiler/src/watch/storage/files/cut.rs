//! Reads and writes of files in a stretch of time, and the tables of the report that they make.

use std::{
    cmp::Reverse,
    collections::HashMap,
    path::{Path, PathBuf},
};

use pgstrobe_common::files::{FileIo, MAX_FILES};
use serde::{Deserialize, Serialize};

use crate::{
    postgres::{backend::Role, catalog::DEFAULT_TABLESPACE, patience::Domain, relation::RelationFile, server::Server},
    report::model::{self, Report},
    time::{Merge, pairs},
    vocabulary::{FileKind, Fork},
};

/// Rows kept apart: as many as the kernel side has files.
pub(super) const MAX_NAMES: usize = MAX_FILES as usize;
/// Rows of the report; the others are summed by role and kind.
const MAX_ROWS: usize = 5_000;
/// Relations whose size is looked up.
const SIZED: usize = 200;

/// All temporary files, and what found no room.
pub(super) const ALL: &str = "(all)";
pub(super) const OTHER: &str = "(other)";

/// A file, and the role that used it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Name {
    pub role: Role,
    pub kind: FileKind,
    /// Below the data directory.
    pub file: String,
    pub relation: Option<RelationFile>,
}

/// What the processes of one server did with its files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    #[serde(with = "pairs")]
    rows: HashMap<Name, FileIo>,
    /// Rows that found no room.
    folded: u64,
}

impl Cut {
    pub(super) fn add(&mut self, name: &Name, gained: &FileIo) {
        match self.rows.get_mut(name) {
            Some(row) => row.add(gained),
            None => drop(self.rows.insert(name.clone(), *gained)),
        }
        // Now and then, as it takes time.
        if self.rows.len() >= 2 * MAX_NAMES {
            self.bound(MAX_NAMES);
        }
    }

    /// Keeps so many rows apart, those that took most time, beside the ones of what found no room.
    pub(super) fn bound(&mut self, most: usize) {
        if self.rows.len() <= most {
            return;
        }
        let (other, mut rows): (Vec<_>, Vec<_>) = self.rows.drain().partition(|(name, _)| name.file == OTHER);
        rows.sort_by(|(a, one), (b, other)| time(one).cmp(&time(other)).then_with(|| a.cmp(b)));
        self.rows.extend(other);
        for (name, io) in rows.split_off(rows.len().min(most)) {
            self.rows.entry(Name { file: OTHER.into(), relation: None, ..name }).or_default().add(&io);
            self.folded += 1;
        }
        self.rows.extend(rows);
    }

    /// The rows of the report, and the sizes of relations as they are now.
    pub fn fill(&self, report: &mut Report, server: &Server) {
        let (mut files, folded) = self.model();
        let directory = directory(server);
        for relation in files.relations.iter_mut().take(SIZED) {
            let (directory, of) = (directory.clone(), relation.clone());
            let domain = Domain::of(relation.tablespace.unwrap_or(0));
            relation.size_bytes = server.patience.within(domain, move || size(&directory, &of)).flatten();
        }
        files.io_uring = uses_io_uring(server.cluster.postmaster_pid);
        if files.io_uring {
            report.coverage.notes.push(
                "io_method is io_uring: reads and writes that the server makes through it are no system calls, and not \
                 among those of files"
                    .into(),
            );
        }
        report.storage.files = files;
        if folded != 0 {
            *report.coverage.lost.entry("files_folded".into()).or_default() += folded;
        }
    }

    /// Without what is looked up, and how many rows found no room in all.
    fn model(&self) -> (model::Files, u64) {
        let mut relations: HashMap<(RelationFile, Fork), FileIo> = HashMap::new();
        for (name, io) in &self.rows {
            if let Some(file) = name.relation {
                let whole = RelationFile { segment: 0, ..file };
                relations.entry((whole, file.fork)).or_default().add(io);
            }
        }
        let mut relations: Vec<_> = relations.into_iter().collect();
        relations.sort_by_key(|((file, _), io)| (time(io), file.database, file.relfilenode));
        relations.truncate(MAX_ROWS);
        let relations = relations.into_iter().map(|((file, fork), io)| model::RelationIo {
            database: file.database,
            tablespace: file.tablespace,
            relfilenode: file.relfilenode,
            fork: fork.into(),
            temporary: file.temporary_of.is_some(),
            name: None,
            size_bytes: None,
            io: io_model(&io),
        });
        let mut shown = self.clone();
        shown.bound(MAX_ROWS);
        let mut by: Vec<_> = shown.rows.into_iter().collect();
        by.sort_by(|(a, one), (b, other)| {
            time(one).cmp(&time(other)).then_with(|| (a.role.name(), &a.file).cmp(&(b.role.name(), &b.file)))
        });
        let by = by.into_iter().map(|(name, io)| model::FileBy {
            role: name.role.into(),
            file_kind: name.kind.into(),
            file: name.file,
            io: io_model(&io),
        });
        (model::Files { by: by.collect(), relations: relations.collect(), io_uring: false }, shown.folded)
    }
}

impl Merge for Cut {
    fn merge(&mut self, later: Self) {
        for (name, io) in &later.rows {
            self.add(name, io);
        }
        self.folded += later.folded;
        self.bound(MAX_NAMES);
    }
}

/// Most time first.
fn time(io: &FileIo) -> Reverse<(u64, u64)> {
    Reverse((io.read_ns + io.write_ns + io.extend_ns, io.reads + io.writes))
}

fn io_model(io: &FileIo) -> model::FileIo {
    model::FileIo {
        reads: io.reads,
        read_bytes: io.read_bytes,
        read_ns: io.read_ns,
        device_reads: io.device_reads,
        device_read_ns: io.device_read_ns,
        device_read_bytes: io.device_read_bytes,
        prefetches: io.prefetches,
        writes: io.writes,
        write_bytes: io.write_bytes,
        write_ns: io.write_ns,
        device_write_bytes: io.device_write_bytes,
        read_before_writes: io.reading_writes,
        read_before_write_ns: io.reading_write_ns,
        read_before_write_bytes: io.reading_write_bytes,
        extends: io.extends,
        extend_ns: io.extend_ns,
        extend_bytes: io.extend_bytes,
        truncates: io.truncates,
        truncate_bytes: io.truncate_bytes,
        failed: io.failed,
    }
}

/// The data directory, as this process reaches it.
pub(super) fn directory(server: &Server) -> PathBuf {
    let data_directory = &server.cluster.data_directory;
    PathBuf::from(format!("/proc/{}/root", server.cluster.postmaster_pid))
        .join(data_directory.strip_prefix("/").unwrap_or(data_directory))
}

/// Size of all segments of a relation; none where its files are not where their numbers say, or are gone.
fn size(directory: &Path, relation: &model::RelationIo) -> Option<u64> {
    if relation.temporary {
        return None;
    }
    let below = match (relation.tablespace?, relation.database) {
        (_, None) => directory.join("global"),
        (DEFAULT_TABLESPACE, Some(database)) => directory.join(format!("base/{database}")),
        (tablespace, Some(database)) => {
            // Below one directory, whose name holds the version of the catalog.
            let catalogs = std::fs::read_dir(directory.join(format!("pg_tblspc/{tablespace}"))).ok()?;
            let mut places = catalogs.flatten().map(|catalog| catalog.path().join(database.to_string()));
            places.find(|place| place.is_dir())?
        }
    };
    let fork = if relation.fork == Fork::Main { String::new() } else { format!("_{}", relation.fork) };
    let segment = |n: u32| {
        let number = if n == 0 { String::new() } else { format!(".{n}") };
        let path = below.join(format!("{}{fork}{number}", relation.relfilenode));
        std::fs::metadata(path).ok().map(|file| file.len())
    };
    let first = segment(0)?;
    Some(first + (1..).map_while(segment).sum::<u64>())
}

/// The postmaster makes the rings for all its children.
fn uses_io_uring(postmaster: u32) -> bool {
    let open = std::fs::read_dir(format!("/proc/{postmaster}/fd"));
    let mut open = open.into_iter().flatten().flatten();
    open.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[io_uring]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> Name {
        let relation = RelationFile {
            tablespace: Some(DEFAULT_TABLESPACE),
            database: Some(5),
            relfilenode: n as u32 / 2,
            fork: Fork::Main,
            segment: n as u32 % 2,
            temporary_of: None,
        };
        Name {
            role: Role::ClientBackend,
            kind: FileKind::Relation,
            file: format!("base/5/{n}"),
            relation: Some(relation),
        }
    }

    fn reads(cut: &mut Cut, names: std::ops::Range<usize>) {
        for n in names {
            cut.add(&name(n), &FileIo { reads: 1, read_ns: 1_000 + n as u64, ..FileIo::default() });
        }
    }

    #[test]
    fn two_parts_are_the_whole() {
        let (mut whole, mut first, mut later) = (Cut::default(), Cut::default(), Cut::default());
        reads(&mut whole, 0..20);
        reads(&mut whole, 10..30);
        reads(&mut first, 0..20);
        reads(&mut later, 10..30);
        first.merge(later);
        assert_eq!(first, whole);
        let kept = serde_json::to_string(&first).expect("plain data");
        assert_eq!(serde_json::from_str::<Cut>(&kept).expect("what was written"), whole);
        let (files, folded) = first.model();
        assert_eq!((files.by.len(), files.relations.len(), folded), (30, 15, 0));
        assert_eq!(files.by[0].file, "base/5/19");
        assert_eq!((files.relations[0].relfilenode, files.relations[0].io.reads), (9, 4));
    }

    #[test]
    fn what_finds_no_room_is_summed_and_counted() {
        let (mut first, mut later) = (Cut::default(), Cut::default());
        reads(&mut first, 0..MAX_NAMES);
        reads(&mut later, MAX_NAMES..MAX_NAMES + 100);
        first.merge(later);
        assert_eq!((first.rows.len(), first.folded), (MAX_NAMES + 1, 100));
        let (files, folded) = first.model();
        assert_eq!((files.by.len(), files.relations.len()), (MAX_ROWS + 1, MAX_ROWS));
        assert_eq!(files.by.iter().map(|by| by.io.reads).sum::<u64>(), (MAX_NAMES + 100) as u64);
        assert_eq!(folded, (MAX_NAMES + 100 - MAX_ROWS) as u64);
    }
}
