//! The storage section, top-down: files, WAL and checkpoints, writeback, devices and who delays whom.

pub(crate) mod aio;
mod block;
pub(crate) mod files;
mod wal;
pub(crate) mod writeback;

use super::{Page, Report};
pub(crate) use block::who;

pub(super) fn render(report: &Report, page: &mut Page) {
    files::render(report, page);
    aio::render(report, page);
    wal::render(report, page);
    writeback::render(&report.storage.writeback, page);
    block::render(&report.storage.block, report.duration_ns, page);
}
