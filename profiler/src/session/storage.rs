//! The storage path: what the kernel side and the server keep of it, from tick to report.

mod aio;
mod block;
mod files;
mod tablespaces;
mod wal;
mod writeback;

use std::collections::HashMap;

use anyhow::Result;
use pgstrobe_common::{
    files::{File, Truncated},
    trace::Traced,
};

use crate::{
    instrument::Instrument,
    kernel::btf::Btf,
    postgres::{relation::RelationFile, server::Server},
    report::{model::Report, trace::Request},
    vocabulary::Role,
};

pub struct Storage {
    pub(super) aio: aio::Aio,
    block: block::Block,
    files: files::Files,
    pub(super) wal: wal::Wal,
    writeback: writeback::Writeback,
}

impl Storage {
    /// Takes its maps; the programs are attached already.
    pub fn open(instrument: &mut Instrument, server: &Server, btf: &Btf) -> Result<Self> {
        Ok(Self {
            aio: aio::Aio::open(server),
            block: block::Block::open(instrument, server)?,
            files: files::Files::open(instrument, server)?,
            wal: wal::Wal::open(server),
            writeback: writeback::Writeback::open(instrument, btf, server)?,
        })
    }

    /// A file was met for the first time.
    pub fn file(&mut self, record: &File, server: &Server) {
        self.files.seen(record, server);
    }

    pub fn truncated(&mut self, record: &Truncated, server: &Server) {
        self.files.truncated(record, server);
    }

    /// A block request that was sent by itself.
    pub fn traced(&mut self, record: Traced) {
        self.block.traced(record);
    }

    /// What of a trace is to be done regularly; see [`block::Block::requests`].
    pub fn trace(&mut self, server: &Server, roles: &HashMap<u32, Role>, began_ns: u64) -> Vec<Request> {
        self.block.tick(server);
        self.block.requests(roles, began_ns)
    }

    /// Regularly, with every drain of the ring buffer.
    pub fn tick(&mut self, server: &Server) {
        self.block.tick(server);
        self.files.tick(server);
        self.writeback.tick();
    }

    /// Files of relations that were met for the first time since this was last asked.
    pub fn new_files(&mut self) -> Vec<RelationFile> {
        self.files.new_files()
    }

    /// Fills the report of the interval that ends now, and begins the next one.
    pub fn fill(&mut self, report: &mut Report, server: &Server) {
        self.block.fill(report, server);
        self.files.fill(report, server);
        self.writeback.fill(report, server);
    }
}
