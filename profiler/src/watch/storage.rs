//! The storage path of one server: what the kernel side and the server keep of it, from tick to report. What is the host's,
//! devices and writeback, is beside it, and measured once.

pub(super) mod aio;
pub(super) mod block;
pub(super) mod files;
mod tablespaces;
pub(super) mod wal;
pub(super) mod writeback;

use pgstrobe_common::files::{File, FileIo, FileKey, Truncated};

use crate::{
    maps::Map,
    postgres::{relation::RelationFile, server::Server},
};

pub struct Storage {
    pub(super) aio: aio::Aio,
    files: files::Files,
    pub(super) wal: wal::Wal,
    pub(super) disks: writeback::Disks,
}

impl Storage {
    /// `number` is that of the server.
    pub fn open(number: u16, server: &Server) -> Self {
        Self {
            aio: aio::Aio::open(server),
            files: files::Files::open(number, server),
            wal: wal::Wal::open(server),
            disks: writeback::Disks::of(server),
        }
    }

    /// A file was met for the first time.
    pub fn file(&mut self, record: &File, server: &Server) {
        self.files.seen(record, server);
    }

    pub fn truncated(&mut self, record: &Truncated, server: &Server) {
        self.files.truncated(record, server);
    }

    /// Regularly, with every drain of the ring buffer; `map` is the kernel side's, of the files of all servers.
    pub fn tick(&mut self, map: &mut Map<FileKey, FileIo>) {
        self.files.tick(map);
    }

    /// Files of relations that were met for the first time since this was last asked.
    pub fn new_files(&mut self) -> Vec<RelationFile> {
        self.files.new_files()
    }

    /// Reads and writes of files since this was last asked.
    pub fn cut_files(&mut self, server: &Server, map: &mut Map<FileKey, FileIo>) -> files::Cut {
        self.files.cut(server, map)
    }
}
