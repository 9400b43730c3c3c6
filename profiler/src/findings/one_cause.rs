//! Rules about waits of which the kernel tells the whole cause: the ledger is all the evidence there is.

use super::rule::{Confidence, Found};
use super::time::{caused, events, in_waits, listed, notable, percent, severity_of, worst_statement};
use crate::report::model::{LedgerPart, Report};
use crate::vocabulary::Cause;

/// The waits of one cause.
pub struct OneCause {
    pub cause: Cause,
    pub confidence: Confidence,
    /// One such wait: `request`.
    pub wait: &'static str,
    /// What goes on, as it follows "… % of statement time": `the server's cgroup was frozen`.
    pub title: &'static str,
    pub advice: &'static str,
}

impl OneCause {
    pub fn is_about(&self, part: &LedgerPart) -> bool {
        caused(part, &[self.cause])
    }

    pub fn find(&self, report: &Report) -> Option<Found> {
        let is_about = |part: &LedgerPart| self.is_about(part);
        let cost = notable(report, is_about)?;
        let mut evidence =
            vec![in_waits(&cost, self.wait), format!("meanwhile in {}", listed(&events(report, is_about), 3))];
        evidence.extend(worst_statement(report, is_about));
        Some(Found {
            severity: severity_of(cost.share),
            confidence: self.confidence,
            title: format!("{} of statement time {}", percent(cost.share), self.title),
            evidence,
            advice: self.advice.into(),
            explained_ns: cost.ns,
        })
    }
}
