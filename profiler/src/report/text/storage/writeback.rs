//! Tables of writeback, and what makes a backend wait for it.

use crate::report::{model::Writeback, text::Page};

pub(super) fn render(_writeback: &Writeback, _page: &mut Page) {}
