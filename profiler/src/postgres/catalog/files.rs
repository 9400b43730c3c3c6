//! Where the catalogs of a database lie on disk, and their pages as they were last written there.
//!
//! Everything is reached through the postmaster's own working directory and root, so that a server in a container is
//! read as any other. Files are only read, and only so much of them as one look allows.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{map, page};
use crate::postgres::{
    binary::read_regular,
    patience::{Domain, Patience},
    places,
    server::Server,
};

/// OIDs of the two tablespaces that are always there (src/include/catalog/pg_tablespace.dat).
pub const DEFAULT_TABLESPACE: u32 = 1663;
pub const GLOBAL_TABLESPACE: u32 = 1664;
/// Most of one catalog that is read in a look, in bytes: some 300,000 relations.
pub const MOST_BYTES: u64 = 64 << 20;
/// Bytes read at once: a multiple of every page size.
const CHUNK: usize = 256 << 10;
/// `BLCKSZ` of usual builds, where no page is there to tell.
const USUAL_PAGE: usize = 8192;
/// Directory entries looked at.
const MOST_ENTRIES: usize = 10_000;

/// The data directory of a server.
#[derive(Debug)]
pub struct Directory {
    data: PathBuf,
    /// What the server takes for `/`.
    root: PathBuf,
    patience: Patience,
}

/// The directory of one database, or the one of what all share.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    pub tablespace: u32,
    /// 0 for what all share.
    pub database: u32,
    patience: Patience,
}

impl Directory {
    pub fn of(server: &Server) -> Self {
        let process = PathBuf::from(format!("/proc/{}", server.cluster.postmaster_pid));
        Self { data: process.join("cwd"), root: process.join("root"), patience: server.patience.clone() }
    }

    #[cfg(test)]
    pub fn at(data: &Path) -> Self {
        Self { data: data.into(), root: "/".into(), patience: Patience::default() }
    }

    pub fn global(&self) -> Place {
        let path = self.data.join("global");
        Place { path, tablespace: GLOBAL_TABLESPACE, database: 0, patience: self.patience.clone() }
    }

    /// OIDs of the databases, ascending.
    pub fn databases(&self) -> Vec<u32> {
        let mut all = self.numbers(DEFAULT_TABLESPACE, self.data.join("base"));
        for (tablespace, path) in self.tablespaces() {
            all.extend(self.numbers(tablespace, path));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Where the catalogs of a database are: in its default tablespace, in the others there is no map.
    pub fn place(&self, database: u32) -> Option<Place> {
        let base = (DEFAULT_TABLESPACE, self.data.join("base"));
        let mut all = std::iter::once(base).chain(self.tablespaces());
        all.find_map(|(tablespace, path)| {
            let path = path.join(database.to_string());
            let map = path.join("pg_filenode.map");
            let is_there = self.patience.within(Domain::of(tablespace), move || map.exists()).unwrap_or(false);
            is_there.then(|| Place { path, tablespace, database, patience: self.patience.clone() })
        })
    }

    /// OIDs of the tablespaces behind links, with the directory of this server in each.
    fn tablespaces(&self) -> impl Iterator<Item = (u32, PathBuf)> {
        let links = self.data.join("pg_tblspc");
        self.numbers(DEFAULT_TABLESPACE, links.clone()).into_iter().flat_map(move |oid| {
            let link = links.join(oid.to_string());
            let target = link.clone();
            let path = match self.patience.within(Domain::Data, move || fs::read_link(target)) {
                Some(target) => places::led(&self.root, link, target),
                None => link,
            };
            let below = path.clone();
            let look = move || entries(&below).filter(|name| name.starts_with("PG_")).collect::<Vec<_>>();
            let names = self.patience.within(Domain::of(oid), look).unwrap_or_default();
            names.into_iter().map(move |name| (oid, path.join(name)))
        })
    }

    /// The entries of a directory whose names are numbers.
    fn numbers(&self, tablespace: u32, directory: PathBuf) -> Vec<u32> {
        let number = |name: String| name.parse().ok().filter(|number| *number != 0);
        let look = move || entries(&directory).filter_map(number).collect();
        self.patience.within(Domain::of(tablespace), look).unwrap_or_default()
    }
}

impl Place {
    /// The file numbers of its mapped catalogs.
    pub fn map(&self) -> Option<Vec<(u32, u32)>> {
        let path = self.path.join("pg_filenode.map");
        let data = self.within(move || read_regular(&path, map::LARGEST).ok()).flatten();
        map::parse(&data?)
    }

    /// Hands over the pages of a relation with their numbers, as far as the limit goes.
    pub fn pages(&self, filenode: u32, mut each: impl FnMut(u32, &[u8])) {
        let Some(file) = self.open(filenode) else { return };
        let (mut file, mut number) = (file.take(MOST_BYTES), 0);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = self.within(move || {
                let filled = fill(&mut file, &mut chunk);
                (file, chunk, filled)
            });
            let filled;
            (file, chunk, filled) = match read {
                Some(read) => read,
                None => return,
            };
            let size = page::size(&chunk[..filled]).unwrap_or(USUAL_PAGE);
            for page in chunk[..filled].chunks_exact(size) {
                each(number, page);
                number += 1;
            }
            if filled < CHUNK {
                return;
            }
        }
    }

    /// The first segment of a relation; None for what is no plain file, which could keep the reader waiting.
    fn open(&self, filenode: u32) -> Option<File> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let path = self.path.join(filenode.to_string());
        self.within(move || {
            let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
            file.metadata().is_ok_and(|meta| meta.is_file()).then_some(file)
        })
        .flatten()
    }

    fn within<T: Send + 'static>(&self, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.patience.within(Domain::of(self.tablespace), look)
    }

    /// Size of the pages of a mapped catalog, in bytes.
    pub fn page_size(&self, oid: u32) -> usize {
        let header = || {
            let (_, filenode) = self.map()?.into_iter().find(|(known, _)| *known == oid)?;
            let mut file = self.open(filenode)?;
            let read = move || {
                let mut header = [0; page::HEADER];
                file.read_exact(&mut header).map(|()| header).ok()
            };
            page::size(&self.within(read).flatten()?)
        };
        header().unwrap_or(USUAL_PAGE)
    }

    /// Size of a relation's first segment in bytes.
    pub fn size(&self, filenode: u32) -> u64 {
        let path = self.path.join(filenode.to_string());
        self.within(move || fs::metadata(path).map_or(0, |meta| meta.len())).unwrap_or(0)
    }
}

/// Bytes read; fewer than there is room for only at the end, or where reading fails.
fn fill(file: &mut std::io::Take<File>, chunk: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < chunk.len() {
        match file.read(&mut chunk[filled..]) {
            Ok(0) | Err(_) => break,
            Ok(read) => filled += read,
        }
    }
    filled
}

fn entries(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().take(MOST_ENTRIES);
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}
