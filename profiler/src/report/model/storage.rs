//! The storage path in the report: from a statement's files to the device, and back to who is to blame.

mod aio;
mod block;
mod files;
mod wal;
mod writeback;

pub use aio::*;
pub use block::*;
pub use files::*;
pub use wal::*;
pub use writeback::*;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Storage {
    /// None before 18.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aio: Option<Aio>,
    pub block: Block,
    pub files: Files,
    pub wal: Wal,
    pub writeback: Writeback,
}
