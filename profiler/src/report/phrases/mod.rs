//! Phrases on parts of the model, which findings and pages share.

pub(crate) mod aio;
pub(crate) mod block;
pub(crate) mod files;
pub(crate) mod locks;
pub(crate) mod memory;
pub(crate) mod parts;
pub(crate) mod writeback;
