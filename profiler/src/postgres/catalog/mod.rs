//! Names of relations from the numbers of their files, without SQL: out of the server's own catalogs, pg_class,
//! pg_namespace and pg_database, as they lie in its files and, where they are newer, in its buffer pool.
//!
//! Catalogs are looked at when the profile begins and again when a file is not known, and what was seen once is
//! remembered. A look takes no lock and writes nothing. How often there is one depends on what it costs. What is still
//! unknown can be asked of the server itself, where the user gave a way to connect (`--dsn`).

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use pgstrobe_common::fields::{ABSENT, UserFields};

use super::server::Server;
use buffers::{MOST_DESCRIPTORS, Pool, Whose};
use database::Memory;
use files::Directory;
pub use files::{DEFAULT_TABLESPACE, GLOBAL_TABLESPACE};
use look::mapped;
pub use name::{RelationKind, RelationName};
pub use sql::Dsn;
use sql::Sql;

mod buffers;
mod database;
mod files;
mod look;
mod map;
mod name;
mod page;
#[cfg(test)]
mod properties;
mod rows;
mod sql;
#[cfg(test)]
mod tests;

/// OIDs of catalogs and of the database that is always there (src/include/catalog/pg_class.h, pg_namespace.h,
/// pg_database.h and pg_database.dat).
const PG_CLASS: u32 = 1259;
const PG_NAMESPACE: u32 = 2615;
const PG_DATABASE: u32 = 1262;
const TEMPLATE1: u32 = 1;
/// Relations remembered, of all databases together.
const MOST_RELATIONS: usize = 200_000;
/// Databases looked at when the profile begins, and the size of their pg_class together, in bytes.
const FIRST_DATABASES: usize = 64;
const FIRST_BYTES: u64 = 64 << 20;
/// Databases of which anything is remembered.
const MOST_DATABASES: usize = 1000;
/// The next look at a database comes after this time, and looks take no more than one part in so many of all time.
const PAUSE: Duration = Duration::from_millis(90);
const COST: u32 = 100;
/// Times the buffer pool of one postmaster is looked for.
const MOST_TRIES: u32 = 10;

/// What is known of a server's relations.
pub struct Catalog {
    directory: Directory,
    fields: UserFields,
    pool: Option<Pool>,
    names: HashMap<u32, Box<str>>,
    /// Relations that all databases share, by file number.
    shared: HashMap<u32, u32>,
    databases: HashMap<u32, Database>,
    opened: Instant,
    /// Time in looks since then.
    spent: Duration,
    /// Relations and files for which there was no room.
    left_out: usize,
    /// The postmaster whose memory is read.
    postmaster: u32,
    /// How often its pool was looked for: it may be in its first moments.
    tries: u32,
    /// Asks the server itself, where that is wanted.
    sql: Option<Sql>,
    /// The data directory could not be read at the last look.
    unreadable: bool,
    /// Why nothing can be read.
    note: Option<String>,
}

#[derive(Default)]
struct Database {
    memory: Memory,
    /// The file of its pg_namespace, 0 while it is not known.
    namespaces: u32,
    looked: Option<Instant>,
}

impl Catalog {
    /// Looks at the databases there are, as far as that is little work; the others follow when they are asked for.
    pub fn open(server: &Server, dsn: Option<&Dsn>) -> Self {
        let mut this = Self::new(Directory::of(server), server.layout.map(|layout| layout.user));
        if this.fields.class_kind == ABSENT {
            let major = server.cluster.version.major;
            this.note =
                Some(format!("PostgreSQL {major} has no layout table: relations are shown by their file numbers"));
        }
        this.follow(server);
        let mut bytes = 0;
        let first: Vec<u32> = this.directory.databases().into_iter().take(FIRST_DATABASES).collect();
        let fits = |database: &u32| {
            let place = this.directory.place(*database);
            bytes += place.and_then(|place| Some(place.size(mapped(&place.map()?, PG_CLASS)?))).unwrap_or(0);
            bytes <= FIRST_BYTES
        };
        let first: Vec<u32> = first.into_iter().take_while(fits).collect();
        this.look(&first);
        // This much had to be.
        this.spent = Duration::ZERO;
        this.sql = dsn.map(Sql::start);
        this
    }

    /// Of a server whose relations nobody asks for.
    pub fn unread(server: &Server) -> Self {
        Self::new(Directory::of(server), None)
    }

    fn new(directory: Directory, fields: Option<UserFields>) -> Self {
        Self {
            directory,
            fields: fields.unwrap_or(UserFields::UNRESOLVED),
            pool: None,
            names: HashMap::new(),
            shared: HashMap::new(),
            databases: HashMap::new(),
            opened: Instant::now(),
            spent: Duration::ZERO,
            left_out: 0,
            postmaster: 0,
            tries: 0,
            sql: None,
            unreadable: false,
            note: None,
        }
    }

    /// A postmaster that came back has other addresses; what is known of the cluster stays.
    pub fn follow(&mut self, server: &Server) {
        let pid = server.cluster.postmaster_pid;
        if self.postmaster != pid {
            (self.postmaster, self.tries, self.pool) = (pid, 0, None);
        }
        if self.pool.is_some() || self.tries >= MOST_TRIES {
            return;
        }
        self.tries += 1;
        self.directory = Directory::of(server);
        let page = self.directory.global().page_size(PG_DATABASE);
        self.pool = Pool::open(server, page);
    }

    /// The relation that a file belongs to, or belonged to. `database_oid` is 0 for what all databases share,
    /// `tablespace_oid` where it is not known.
    pub fn name(&mut self, database_oid: u32, tablespace_oid: u32, relfilenode: u32) -> Option<RelationName> {
        if relfilenode == 0 {
            return None;
        }
        let known = self.known(database_oid, tablespace_oid, relfilenode);
        if known.is_some() {
            return known;
        }
        // What all share is described in every database.
        let database = if database_oid == 0 { self.any() } else { Some(database_oid) };
        if let Some(database) = database.filter(|database| self.is_due(*database)) {
            self.look(&[database]);
        }
        self.known(database_oid, tablespace_oid, relfilenode).or_else(|| {
            let asked = Whose { tablespace: tablespace_oid, database: database_oid, filenode: relfilenode };
            self.sql.as_mut()?.ask(asked);
            None
        })
    }

    /// Takes in what the server answered.
    pub fn hear(&mut self) {
        while let Some((of, database, relations)) = self.sql.as_mut().and_then(Sql::answer) {
            let oid = if of.database == 0 { database.0 } else { of.database };
            if let Some((class, _)) = relations.first().filter(|_| of.database == 0) {
                self.shared.insert(of.filenode, class.oid);
            }
            self.names.insert(database.0, database.1);
            self.databases.entry(oid).or_default().memory.told(of.tablespace, of.filenode, relations);
        }
    }

    /// Whether the server is still to answer a question.
    pub fn waits(&self) -> bool {
        self.sql.as_ref().is_some_and(Sql::waits)
    }

    fn is_due(&mut self, database: u32) -> bool {
        if !self.databases.contains_key(&database) && self.databases.len() >= MOST_DATABASES {
            return false;
        }
        let affordable = self.spent * COST <= self.opened.elapsed();
        let looked = self.databases.entry(database).or_default().looked;
        looked.is_none_or(|looked| affordable && looked.elapsed() >= PAUSE)
    }

    /// Lets the next question look again without a pause: it is the last one for a while.
    pub fn hurry(&mut self) {
        self.databases.values_mut().for_each(|database| database.looked = None);
    }

    /// What cannot be named and why, in sentences for people; `unnamed` files of relations have no name.
    pub fn notes(&self, unnamed: usize) -> Vec<String> {
        let mut notes: Vec<String> = self.sql.iter().flat_map(Sql::notes).collect();
        if self.left_out > 0 {
            notes.push(format!(
                "the names of {MOST_RELATIONS} relations are remembered: {} more relations and files have none",
                self.left_out
            ));
        }
        if unnamed == 0 {
            return notes;
        }
        let why = match &self.pool {
            _ if self.note.is_some() => self.note.clone().unwrap_or_default(),
            _ if self.unreadable => {
                "the data directory cannot be read: run pgstrobe as root or with CAP_DAC_READ_SEARCH".into()
            }
            None => "the server's buffer pool cannot be found, and what is new since the last checkpoint is in no file"
                .into(),
            Some(pool) if !pool.is_seen_whole() => format!(
                "of a buffer pool of {} GiB, {MOST_DESCRIPTORS} buffers are read in a look, and what is new since the last \
                 checkpoint is in no file",
                pool.bytes() >> 30
            ),
            Some(_) => "their relations came and went between two looks at the catalogs".into(),
        };
        notes.push(format!("{unnamed} files of relations have no name: {why}"));
        notes
    }

    fn known(&self, database: u32, tablespace: u32, filenode: u32) -> Option<RelationName> {
        if database == 0 {
            let oid = self.shared.get(&filenode).filter(|_| matches!(tablespace, 0 | GLOBAL_TABLESPACE))?;
            return self.databases.values().find_map(|known| known.memory.name(*oid, ""));
        }
        let memory = &self.databases.get(&database)?.memory;
        let name = self.names.get(&database).map_or("", |name| name);
        memory.name(memory.oid(tablespace, filenode)?, name)
    }

    /// A database to learn of what all share.
    fn any(&self) -> Option<u32> {
        let loaded = self.databases.iter().filter(|(_, database)| database.memory.relations() > 0);
        loaded.map(|(oid, _)| *oid).min().or_else(|| self.directory.place(TEMPLATE1).map(|place| place.database))
    }
}
