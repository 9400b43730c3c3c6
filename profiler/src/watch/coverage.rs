//! How far a report can be trusted, and what it cost: what the instrument says of the host, and what a server adds.

use super::one::Watch;
use crate::{cause::Stacks, instrument::Cut, report::model::Report};

impl Watch {
    /// `statements` are those of all servers, which the programs ran for.
    pub(super) fn fill_coverage(&mut self, report: &mut Report, cut: &Cut, statements: u64, stacks: &Stacks) {
        let coverage = &mut report.coverage;
        cut.fill(coverage, statements);
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
        notes.extend(cut.notes.iter().cloned());
        if stacks.are_unreadable() {
            notes.push(
                "the addresses of kernel functions are hidden from pgstrobe: sleeps that only the kernel's stack explains \
                 have a cause by their system call alone; give it CAP_SYSLOG, and see kernel.kptr_restrict"
                    .into(),
            );
        }
    }
}
