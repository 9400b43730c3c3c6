//! Names of relations beside the numbers of their files: learned while the profile runs, because a file that is gone at
//! its end is in no catalog any more.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::{Duration, Instant},
};

use super::Session;
use crate::{
    postgres::{
        catalog::Catalog,
        relation::{self, RelationFile},
    },
    report::model::Report,
};

/// Files without a name that are asked for again, and for how many ticks: 10 s.
const MOST_UNNAMED: usize = 1000;
const TRIES: u32 = 100;
/// Longest that a report waits for what the server was asked.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

pub struct Names {
    pub catalog: Catalog,
    /// Database, tablespace and number of files that have no name yet, with the times they were asked for.
    unnamed: HashMap<(u32, u32, u32), u32>,
}

impl Names {
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog, unnamed: HashMap::new() }
    }

    fn learn(&mut self, files: impl IntoIterator<Item = RelationFile>) {
        self.catalog.hear();
        for file in files {
            if self.unnamed.len() < MOST_UNNAMED {
                self.unnamed.insert(key(&file), 0);
            }
        }
        let catalog = &mut self.catalog;
        self.unnamed.retain(|(database, tablespace, number), tries| {
            *tries += 1;
            catalog.name(*database, *tablespace, *number).is_none() && *tries < TRIES
        });
    }
}

/// 0 stands for the database that is all, and for a tablespace that the path does not show.
fn key(file: &RelationFile) -> (u32, u32, u32) {
    (file.database.unwrap_or(0), file.tablespace.unwrap_or(0), file.relfilenode)
}

impl Session {
    pub(super) fn learn_names(&mut self) {
        self.names.catalog.follow(&self.server);
        let files = self.aggregate.new_files().into_iter().chain(self.storage.new_files());
        self.names.learn(files);
    }

    /// Puts names into the report.
    pub(super) fn fill_names(&mut self, report: &mut Report) {
        let files: Vec<Option<RelationFile>> =
            // What is below the data directory is told by its shape.
            report.fsync.by.iter().map(|row| relation::classify(&row.file, Path::new(""), false).detail).collect();
        self.names.catalog.hurry();
        self.names.learn(files.iter().flatten().copied());
        let began = Instant::now();
        while self.names.catalog.waits() && began.elapsed() < LAST_ANSWERS {
            std::thread::sleep(Duration::from_millis(5));
            self.names.catalog.hear();
        }
        let mut unnamed = HashSet::new();
        for (row, file) in report.fsync.by.iter_mut().zip(files) {
            let Some((database, tablespace, number)) = file.as_ref().map(key) else { continue };
            row.relation = self.names.catalog.name(database, tablespace, number).map(|name| name.to_string());
            if row.relation.is_none() {
                unnamed.insert((database, tablespace, number));
            }
        }
        // Temporary tables are of one backend, and their rows of the catalog with it.
        for row in report.storage.files.relations.iter_mut().filter(|row| !row.temporary) {
            let (database, tablespace) = (row.database.unwrap_or(0), row.tablespace.unwrap_or(0));
            row.name = self.names.catalog.name(database, tablespace, row.relfilenode).map(|name| name.to_string());
            if row.name.is_none() {
                unnamed.insert((database, tablespace, row.relfilenode));
            }
        }
        report.coverage.notes.extend(self.names.catalog.notes(unnamed.len()));
    }
}
