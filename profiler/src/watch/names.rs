//! Names of relations beside the numbers of their files: learned while the profile runs, because a file that is gone at
//! its end is in no catalog any more.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use crate::{
    postgres::{
        catalog::Catalog,
        relation::{self, RelationFile},
        server::Server,
    },
    report::model::Report,
};

/// Files without a name that are asked for again, and for how many ticks: 10 s.
const MOST_UNNAMED: usize = 1000;
const TRIES: u32 = 100;

pub struct Names {
    catalog: Catalog,
    /// Database, tablespace and number of files that have no name yet, with the times they were asked for.
    unnamed: HashMap<(u32, u32, u32), u32>,
}

impl Names {
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog, unnamed: HashMap::new() }
    }

    /// Regularly, with the files that were met since the last time.
    pub fn tick(&mut self, server: &Server, files: impl IntoIterator<Item = RelationFile>) {
        self.catalog.follow(server);
        self.learn(files);
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

impl Names {
    /// Asks for the names of all files of a report: its last chance to have them.
    pub fn ask(&mut self, report: &Report) {
        let files: Vec<RelationFile> = synced(report).flatten().collect();
        self.catalog.hurry();
        self.learn(files);
    }

    /// Whether the server is still to answer a question.
    pub fn wait(&mut self) -> bool {
        self.catalog.hear();
        self.catalog.waits()
    }

    /// Puts names into the report.
    pub fn fill(&mut self, report: &mut Report) {
        let files: Vec<Option<RelationFile>> = synced(report).collect();
        let mut unnamed = HashSet::new();
        for (row, file) in report.fsync.by.iter_mut().zip(files) {
            let Some((database, tablespace, number)) = file.as_ref().map(key) else { continue };
            row.relation = self.catalog.name(database, tablespace, number).map(|name| name.to_string());
            if row.relation.is_none() {
                unnamed.insert((database, tablespace, number));
            }
        }
        // Temporary tables are of one backend, and their rows of the catalog with it.
        for row in report.storage.files.relations.iter_mut().filter(|row| !row.temporary) {
            let (database, tablespace) = (row.database.unwrap_or(0), row.tablespace.unwrap_or(0));
            row.name = self.catalog.name(database, tablespace, row.relfilenode).map(|name| name.to_string());
            if row.name.is_none() {
                unnamed.insert((database, tablespace, row.relfilenode));
            }
        }
        report.coverage.notes.extend(self.catalog.notes(unnamed.len()));
    }
}

/// The relations of the files in the table of syncs, in its order: what is below the data directory is told by its shape.
fn synced(report: &Report) -> impl Iterator<Item = Option<RelationFile>> {
    report.fsync.by.iter().map(|row| relation::classify(&row.file, Path::new(""), false).detail)
}
