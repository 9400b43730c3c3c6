//! How much a finding matters, and how sure it is.

use super::vocabulary;

vocabulary! {
    /// How much a finding matters; the most severe first.
    Severity {
        Critical "critical",
        Warning "warning",
        Info "info",
    }
}

vocabulary! {
    /// How sure a rule is of the cause it names.
    Confidence {
        /// The evidence leaves one cause.
        High "high",
        /// The usual cause of this evidence.
        Medium "medium",
        /// One of several.
        Low "low",
    }
}
