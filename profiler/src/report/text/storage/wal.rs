//! Tables of WAL and checkpoints.

use crate::report::{model::Wal, text::Page};

pub(super) fn render(_wal: &Wal, _page: &mut Page) {}
