//! Tables of reads and writes by file kind, relation and statement class.

use crate::report::{model::Files, text::Page};

pub(super) fn render(_files: &Files, _page: &mut Page) {}
