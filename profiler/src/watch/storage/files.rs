//! Reads and writes by file kind, relation and statement class.
//!
//! The kernel side adds up by file and type of backend, and says once what a file is called. Here its sums are taken with
//! every report, and what a file gained since the one before goes into the row of its name.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use pgstrobe_common::files::{self, CLASS_TEMP, CLASSES, FileIo, FileKey, MAX_FILES};

use super::tablespaces::Tablespaces;
use crate::vocabulary::{FileKind, Fork};
use crate::{
    aggregate::path_of,
    maps::Map,
    pace::Every,
    postgres::{
        backend::Role,
        catalog::DEFAULT_TABLESPACE,
        patience::Domain,
        relation::{self, RelationFile},
        server::Server,
    },
    report::model::{self, Report},
};

/// Rows of the report; the others are summed by role and kind.
const MAX_ROWS: usize = 5_000;

/// Files looked through now and then for those nobody uses any more.
const CROWDED: usize = MAX_FILES as usize / 2;
const SWEEP: Duration = Duration::from_secs(5);
/// Sweeps without a change after which a file is given up: half a minute.
const IDLE_SWEEPS: u32 = 6;

/// Relations whose size is looked up.
const SIZED: usize = 200;

/// Values of `MyBackendType` are below this in every version (src/include/miscadmin.h).
const BACKEND_TYPES: u32 = 32;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Name {
    role: Role,
    kind: FileKind,
    file: String,
    relation: Option<RelationFile>,
}

/// A file of the kernel side's map.
struct Known {
    name: Name,
    /// What is in rows already.
    taken: FileIo,
    idle: u32,
}

pub struct Files {
    /// That of the server.
    number: u16,
    data_directory: PathBuf,
    /// The same, as this process reaches it.
    directory: PathBuf,
    tablespaces: Tablespaces,
    known: HashMap<FileKey, Known>,
    /// Of the interval.
    rows: HashMap<Name, FileIo>,
    /// Files of relations that were met for the first time since the last tick.
    new: Vec<RelationFile>,
    sweep: Every,
}

impl Files {
    pub fn open(number: u16, server: &Server) -> Self {
        let data_directory = server.cluster.data_directory.clone();
        let directory = PathBuf::from(format!("/proc/{}/root", server.cluster.postmaster_pid))
            .join(data_directory.strip_prefix("/").unwrap_or(&data_directory));
        let tablespaces = Tablespaces::of(&directory, server.patience.clone());
        Self {
            number,
            data_directory,
            directory,
            tablespaces,
            known: HashMap::new(),
            rows: HashMap::new(),
            new: Vec::new(),
            sweep: Every::after(SWEEP),
        }
    }

    /// A file was met for the first time by a type of backend.
    pub fn seen(&mut self, record: &files::File, server: &Server) {
        let path = path_of(&record.path);
        let mut place = relation::classify(&path, &self.data_directory, false);
        if let Some(file) = &mut place.detail
            && file.tablespace.is_none()
            && let Some(above) = path.strip_suffix(&place.file)
            && let Some(oid) = self.tablespaces.find(above)
        {
            file.tablespace = Some(oid);
            place.file = format!("pg_tblspc/{oid}/{}", place.file);
        }
        let role = role(server, record.key.backend_type);
        self.new.extend(place.detail);
        let name = Name { role, kind: place.kind, file: place.file, relation: place.detail };
        self.known.insert(record.key, Known { name, taken: FileIo::default(), idle: 0 });
    }

    /// Files of relations that were met for the first time since this was last asked.
    pub fn new_files(&mut self) -> Vec<RelationFile> {
        std::mem::take(&mut self.new)
    }

    /// A file was cut by its path: how long it was is not known.
    pub fn truncated(&mut self, record: &files::Truncated, server: &Server) {
        let end = record.path.iter().position(|&byte| byte == 0).unwrap_or(record.path.len());
        let path = String::from_utf8_lossy(&record.path[..end]);
        let place = relation::classify(&path, &self.data_directory, false);
        let role = role(server, record.backend_type);
        let name = Name { role, kind: place.kind, file: place.file, relation: place.detail };
        // Postgres tries all the forks a relation may have.
        const ENOENT: i32 = 2;
        if record.ret == -ENOENT {
            return;
        }
        let failed = u64::from(record.ret < 0);
        add(&mut self.rows, &name, &FileIo { truncates: 1 - failed, failed, ..FileIo::default() });
    }

    /// Makes room in the kernel side's map where it is short.
    pub fn tick(&mut self, map: &mut Map<FileKey, FileIo>) {
        if self.known.len() < CROWDED || !self.sweep.is_due() {
            return;
        }
        self.take(map, |known, gained| {
            known.idle = if gained { 0 } else { known.idle + 1 };
            known.idle < IDLE_SWEEPS
        });
    }

    /// Adds to the rows what every file has gained; `keep` says whether to go on with it.
    fn take(&mut self, map: &mut Map<FileKey, FileIo>, keep: impl Fn(&mut Known, bool) -> bool) {
        let rows = &mut self.rows;
        self.known.retain(|key, known| {
            let Some(now) = map.get(key) else { return false };
            let gained = now.since(&known.taken);
            let any = gained != FileIo::default();
            if any {
                add(rows, &known.name, &gained);
                known.taken = now;
            }
            let keep = keep(known, any);
            if !keep {
                map.remove(key);
            }
            keep
        });
    }

    /// The pools have no record: each is looked for.
    fn find_pools(&mut self, server: &Server, map: &Map<FileKey, FileIo>) {
        for backend_type in (0..BACKEND_TYPES).chain([u32::MAX]) {
            for class in 0..CLASSES as u32 {
                let key = FileKey::pool(self.number, backend_type, class);
                if self.known.contains_key(&key) || map.get(&key).is_none() {
                    continue;
                }
                let kind = [FileKind::Relation, FileKind::Temp, FileKind::Wal, FileKind::Other][class as usize];
                let file = if class == CLASS_TEMP { ALL } else { OTHER };
                let name = Name { role: role(server, backend_type), kind, file: file.into(), relation: None };
                self.known.insert(key, Known { name, taken: FileIo::default(), idle: 0 });
            }
        }
    }

    pub fn fill(&mut self, report: &mut Report, server: &Server, map: &mut Map<FileKey, FileIo>) {
        self.find_pools(server, map);
        self.take(map, |_, _| true);
        let mut folded = 0;
        let files = &mut report.storage.files;
        *files = model(std::mem::take(&mut self.rows), &mut folded);
        for relation in files.relations.iter_mut().take(SIZED) {
            let (directory, of) = (self.directory.clone(), relation.clone());
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
        if folded != 0 {
            *report.coverage.lost.entry("files_folded".into()).or_default() += folded;
        }
    }
}

/// All temporary files, and what found no room.
const ALL: &str = "(all)";
const OTHER: &str = "(other)";

fn role(server: &Server, backend_type: u32) -> Role {
    server.role(backend_type).unwrap_or(Role::Unknown)
}

fn add(rows: &mut HashMap<Name, FileIo>, name: &Name, gained: &FileIo) {
    match rows.get_mut(name) {
        Some(row) => row.add(gained),
        None => drop(rows.insert(name.clone(), *gained)),
    }
}

/// The rows of a report; `folded` counts those that found no room.
fn model(rows: HashMap<Name, FileIo>, folded: &mut u64) -> model::Files {
    let time = |io: &model::FileIo| std::cmp::Reverse((io.read_ns + io.write_ns + io.extend_ns, io.reads + io.writes));
    let mut relations: HashMap<(RelationFile, Fork), model::FileIo> = HashMap::new();
    let mut by: Vec<model::FileBy> = Vec::new();
    for (name, io) in rows {
        let io = io_model(&io);
        if let Some(file) = name.relation {
            let whole = RelationFile { segment: 0, ..file };
            relations.entry((whole, file.fork)).or_default().add(&io);
        }
        by.push(model::FileBy { role: name.role.into(), file_kind: name.kind.into(), file: name.file, io });
    }
    by.sort_by(|a, b| time(&a.io).cmp(&time(&b.io)).then_with(|| (&a.role, &a.file).cmp(&(&b.role, &b.file))));
    for one in by.split_off(by.len().min(MAX_ROWS)) {
        *folded += 1;
        let same = |row: &model::FileBy| row.file == OTHER && row.role == one.role && row.file_kind == one.file_kind;
        match by.iter_mut().skip(MAX_ROWS).find(|row| same(row)) {
            Some(row) => row.io.add(&one.io),
            None => by.push(model::FileBy { file: OTHER.into(), ..one }),
        }
    }
    let mut relations: Vec<_> = relations
        .into_iter()
        .map(|((file, fork), io)| model::RelationIo {
            database: file.database,
            tablespace: file.tablespace,
            relfilenode: file.relfilenode,
            fork: fork.into(),
            temporary: file.temporary_of.is_some(),
            name: None,
            size_bytes: None,
            io,
        })
        .collect();
    relations.sort_by_key(|row| (time(&row.io), row.database, row.relfilenode));
    relations.truncate(MAX_ROWS);
    model::Files { by, relations, io_uring: false }
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
