//! Reads and writes by file kind, relation and statement class.
//!
//! The kernel side adds up by file and type of backend, and says once what a file is called. Here its sums are taken with
//! every cut, and what a file gained since the one before goes into the row of its name.

mod cut;

use std::{collections::HashMap, path::PathBuf, time::Duration};

use pgstrobe_common::files::{self, CLASS_TEMP, CLASSES, FileIo, FileKey, MAX_FILES};

use super::tablespaces::Tablespaces;
use crate::{
    aggregate::path_of,
    maps::Map,
    pace::Every,
    postgres::{
        backend::Role,
        relation::{self, RelationFile},
        server::Server,
    },
    time::{Gain, Since},
    vocabulary::FileKind,
};
pub use cut::Cut;
use cut::{ALL, Name, OTHER, directory};

/// Files looked through now and then for those nobody uses any more.
const CROWDED: usize = MAX_FILES as usize / 2;
const SWEEP: Duration = Duration::from_secs(5);
/// Sweeps without a change after which a file is given up: half a minute.
const IDLE_SWEEPS: u32 = 6;

/// Values of `MyBackendType` are below this in every version (src/include/miscadmin.h).
const BACKEND_TYPES: u32 = 32;

/// A file of the kernel side's map.
struct Known {
    name: Name,
    sums: Since<FileIo>,
    idle: u32,
}

pub struct Files {
    /// That of the server.
    number: u16,
    data_directory: PathBuf,
    tablespaces: Tablespaces,
    known: HashMap<FileKey, Known>,
    /// Since the last cut.
    cut: Cut,
    /// Files of relations that were met for the first time since the last tick.
    new: Vec<RelationFile>,
    sweep: Every,
}

impl Files {
    pub fn open(number: u16, server: &Server) -> Self {
        let data_directory = server.cluster.data_directory.clone();
        let tablespaces = Tablespaces::of(&directory(server), server.patience.clone());
        Self {
            number,
            data_directory,
            tablespaces,
            known: HashMap::new(),
            cut: Cut::default(),
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
        self.known.insert(record.key, Known { name, sums: Since::default(), idle: 0 });
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
        self.cut.add(&name, &FileIo { truncates: 1 - failed, failed, ..FileIo::default() });
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
        let cut = &mut self.cut;
        self.known.retain(|key, known| {
            let Some(now) = map.get(key) else { return false };
            let gained = known.sums.take(now);
            let any = gained != FileIo::default();
            if any {
                cut.add(&known.name, &gained);
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
                self.known.insert(key, Known { name, sums: Since::default(), idle: 0 });
            }
        }
    }

    /// What there was since the last cut.
    pub fn cut(&mut self, server: &Server, map: &mut Map<FileKey, FileIo>) -> Cut {
        self.find_pools(server, map);
        self.take(map, |_, _| true);
        self.cut.bound(cut::MAX_NAMES);
        std::mem::take(&mut self.cut)
    }
}

impl Gain for FileIo {
    fn since(&self, before: &Self) -> Self {
        self.since(before)
    }
}

fn role(server: &Server, backend_type: u32) -> Role {
    server.role(backend_type).unwrap_or(Role::Unknown)
}
