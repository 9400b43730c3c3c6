//! What a rule is, and what it finds.

use crate::report::model::{Finding, LedgerPart, Report};
pub use crate::vocabulary::{Confidence, Severity};

/// One rule: data, and a function over the report.
#[derive(Debug)]
pub struct Rule {
    /// Part of the interface: never changed.
    pub id: &'static str,
    /// The parts of a ledger whose time it explains when it speaks; [`nothing`] where it is not about such parts.
    pub about: fn(&LedgerPart) -> bool,
    /// Names a state whose reason other rules may know: it does not stand before them, nor does it count their time.
    pub symptom: bool,
    /// A finding if the report holds the evidence for it.
    pub find: fn(&Report) -> Option<Found>,
}

/// For rules that are not about parts of a ledger.
pub fn nothing(_: &LedgerPart) -> bool {
    false
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub severity: Severity,
    pub confidence: Confidence,
    /// The cause in plain language.
    pub title: String,
    /// Numbers from this run, never empty.
    pub evidence: Vec<String>,
    /// The exact setting, query or place to look at.
    pub advice: String,
    /// Time of statements it explains, those still open at the end included; 0 where it is not about time.
    pub explained_ns: u64,
}

impl Found {
    pub fn into_finding(self, id: &str) -> Finding {
        Finding {
            id: id.into(),
            severity: self.severity.into(),
            title: self.title,
            evidence: self.evidence,
            advice: self.advice,
            explained_ns: self.explained_ns,
            confidence: self.confidence.into(),
        }
    }
}
