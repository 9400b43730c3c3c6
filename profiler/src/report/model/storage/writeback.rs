//! Of the report: writeback, and what makes a backend wait for it.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Writeback {}
