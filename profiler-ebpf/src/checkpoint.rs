//! What the checkpointer keeps of its last checkpoint: looked at when one has just ended, because the next may overwrite it
//! soon.

use pgstrobe_common::{lost::Lost, record::Checkpoint, state::Backend};

use crate::{emit, globals::now, postgres};

/// Each checkpoint ends with a sync of it (`UpdateControlFile`, src/backend/access/transam/xlog.c).
pub const CONTROL_FILE: &[u8] = b"pg_control\0";

/// Sends what this process keeps of its checkpoint, if it makes any.
#[inline(always)]
pub fn look(b: &Backend) {
    if let Some(stats) = postgres::checkpoint(b) {
        emit::send(Checkpoint { header: emit::header::<Checkpoint>(b, now()), stats }, Lost::OtherRecords);
    }
}
