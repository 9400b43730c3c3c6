//! The storage section, top-down: files, WAL and checkpoints, writeback, devices and who delays whom.

mod block;
mod files;
mod wal;
mod writeback;

use super::{Page, Report};

pub(super) fn render(report: &Report, page: &mut Page) {
    files::render(&report.storage.files, page);
    wal::render(&report.storage.wal, page);
    writeback::render(&report.storage.writeback, page);
    block::render(&report.storage.block, page);
}
