//! Tables of the block layer: requests by device, cgroup and role, and who delays whom.

use crate::report::{model::Block, text::Page};

pub(super) fn render(_block: &Block, _page: &mut Page) {}
