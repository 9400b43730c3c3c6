//! Of the report: the block layer: requests by device, cgroup and role, and who delays whom.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Block {}
