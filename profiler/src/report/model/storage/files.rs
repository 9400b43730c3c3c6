//! Of the report: reads and writes by file kind, relation and statement class.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Files {}
