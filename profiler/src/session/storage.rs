//! The storage path: what the kernel side and the server keep of it, from tick to report.

mod block;
mod files;
mod wal;
mod writeback;

use anyhow::Result;
use aya::Ebpf;

use crate::{postgres::server::Server, report::model::Report};

pub struct Storage {
    block: block::Block,
    files: files::Files,
    wal: wal::Wal,
    writeback: writeback::Writeback,
}

impl Storage {
    /// Takes its maps; the programs are attached already.
    pub fn open(ebpf: &mut Ebpf, server: &Server) -> Result<Self> {
        Ok(Self {
            block: block::Block::open(ebpf, server)?,
            files: files::Files::open(ebpf, server)?,
            wal: wal::Wal::open(ebpf, server)?,
            writeback: writeback::Writeback::open(ebpf, server)?,
        })
    }

    /// Regularly, with every drain of the ring buffer.
    pub fn tick(&mut self, server: &Server) {
        self.block.tick(server);
        self.files.tick(server);
        self.wal.tick(server);
        self.writeback.tick(server);
    }

    /// Fills the report of the interval that ends now, and begins the next one.
    pub fn fill(&mut self, report: &mut Report, server: &Server) {
        self.block.fill(report, server);
        self.files.fill(report, server);
        self.wal.fill(report, server);
        self.writeback.fill(report, server);
    }
}
