//! The block layer: requests by device, cgroup and role, and who delays whom.

use anyhow::Result;
use aya::Ebpf;

use crate::{postgres::server::Server, report::model::Report};

pub struct Block;

impl Block {
    pub fn open(_ebpf: &mut Ebpf, _server: &Server) -> Result<Self> {
        Ok(Self)
    }

    pub fn tick(&mut self, _server: &Server) {}

    pub fn fill(&mut self, _report: &mut Report, _server: &Server) {}
}
