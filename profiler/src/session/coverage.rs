//! How far a report can be trusted, and what it cost, beside what the instrument says of itself.

use super::Session;
use crate::report::model::Report;

impl Session {
    /// `last`: there will be no other report.
    pub(super) fn fill_coverage(&mut self, report: &mut Report, last: bool) {
        let cut = self.instrument.cut(last);
        let coverage = &mut report.coverage;
        coverage.lost.extend(cut.lost);
        coverage.probes = cut.probes;
        coverage.overhead = cut.overhead;
        coverage.overhead.run_ns_per_statement =
            coverage.overhead.run_ns as f64 / report.statements.count.max(1) as f64;
        let notes = &mut coverage.notes;
        notes.extend(self.server.notes.iter().cloned());
        notes.append(&mut self.notes);
        notes.extend(self.server.patience.notes());
        if !self.server.tracks_activities() {
            notes.push(
                "track_activities is off: the server shows no statement texts, and statements are told apart by backend only"
                    .into(),
            );
        }
        notes.extend(cut.notes);
        if self.stacks.are_unreadable() {
            notes.push(
                "the addresses of kernel functions are hidden from pgstrobe: sleeps that only the kernel's stack explains \
                 have a cause by their system call alone; give it CAP_SYSLOG, and see kernel.kptr_restrict"
                    .into(),
            );
        }
        let cut = self.aggregate.cut_statements();
        if cut > 0 {
            notes.push(format!(
                "{cut} statements were running when the profile began: their time in it is in the ledger, not in the latency"
            ));
        }
    }
}
