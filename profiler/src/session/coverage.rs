//! How far a report can be trusted, and what it cost: losses, hits of every probe, run time.

use pgstrobe_common::state::{HIT_KINDS, LOST_NAMES, LOST_REASONS};

use super::Session;
use crate::{
    attach,
    cost::{self, ProgramCost},
    counters::counter,
    probes::{Hook, Point},
    report::model::{self, Report},
};

impl Session {
    fn is_loaded(&self, hook: &Hook) -> bool {
        self.ebpf.program(hook.program).is_some_and(|program| attach::descriptor(program).is_some())
    }

    pub(super) fn fill_coverage(&mut self, report: &mut Report) {
        for reason in 0..LOST_REASONS {
            let all = counter(&self.ebpf, "LOST", reason);
            let n = all - std::mem::replace(&mut self.lost_before[reason as usize], all);
            report.coverage.lost.insert(LOST_NAMES[reason as usize].into(), n);
        }
        let all = self.skipped_runs();
        let skipped = all - std::mem::replace(&mut self.skipped_before, all);
        report.coverage.lost.insert("programs_skipped".into(), skipped);
        let mut hits = [0; HIT_KINDS as usize];
        for (kind, hits) in hits.iter_mut().enumerate() {
            let all = counter(&self.ebpf, "HITS", kind as u32);
            *hits = all - std::mem::replace(&mut self.hits_before[kind], all);
        }
        let exact = self.config.bpf_stats;
        let mut total = ProgramCost::default();
        for attached in &self.attached {
            let probe = attached.probe;
            let hooks = attached.way.map_or(&[][..], |way| way.hooks);
            let mut timed = ProgramCost::default();
            for hook in hooks {
                let cost = self.timed.get(hook.program).copied().unwrap_or_default();
                // The second program of a hook adds to what a hit costs.
                timed.hits += if matches!(hook.point, Point::TpBtfAgain(_)) { 0 } else { cost.hits };
                timed.run_ns += cost.run_ns;
            }
            let mut cost = timed;
            if !exact {
                cost.hits = probe.hit_kinds.iter().map(|kind| hits[*kind as usize]).sum();
                cost.run_ns = if timed.hits == 0 {
                    0
                } else {
                    (cost.hits as u128 * timed.run_ns as u128 / timed.hits as u128) as u64
                };
            }
            total.hits += cost.hits;
            total.run_ns += cost.run_ns;
            report.coverage.probes.push(model::ProbeCoverage {
                name: probe.name.into(),
                level: probe.level.name().into(),
                hooks: hooks.iter().filter(|hook| self.is_loaded(hook)).map(|hook| hook.point.describe()).collect(),
                attached: attached.way.is_some(),
                hits: cost.hits,
                run_ns: cost.run_ns,
                reason: attached.reason.clone(),
            });
        }
        let statements = report.statements.count.max(1);
        report.coverage.overhead = model::Overhead {
            hits: total.hits,
            run_ns: total.run_ns,
            run_ns_per_statement: total.run_ns as f64 / statements as f64,
            source: if exact { "kernel" } else { "calibrated" }.into(),
            own_cpu_ns: cost::own_cpu_ns().saturating_sub(self.cpu_at_start),
            own_rss_bytes: cost::own_rss_bytes(),
        };
        let notes = &mut report.coverage.notes;
        notes.extend(self.server.notes.iter().cloned());
        notes.append(&mut self.notes);
        notes.extend(self.server.patience.notes());
        if !self.server.tracks_activities() {
            notes.push(
                "track_activities is off: the server shows no statement texts, and statements are told apart by backend only"
                    .into(),
            );
        }
        if self.untimed {
            notes.push(
                "the cost is not measured: the kernel times programs only for CAP_SYS_ADMIN, and from 5.8 on; its 0 means \
                 unknown"
                    .into(),
            );
        }
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
