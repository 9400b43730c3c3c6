//! What the programs cost, by the kernel's own statistics, and which of their runs it left out.

use std::collections::HashMap;

use super::Session;
use crate::{
    attach,
    cost::{self, ProgramCost, Timing},
    probes::Point,
};

impl Session {
    /// Lets the kernel time the programs for one tick in twenty: that makes each hit some 20 ns dearer.
    pub(super) fn sample_cost(&mut self) {
        self.ticks += 1;
        if self.config.bpf_stats {
            return;
        }
        match self.ticks % 20 {
            1 => {
                self.window = self.program_costs();
                self.timing = Timing::start();
                self.untimed = self.timing.is_none();
            }
            2 => self.close_window(),
            _ => {}
        }
    }

    pub(super) fn close_window(&mut self) {
        self.timing = None;
        for (name, now) in self.program_costs() {
            let before = self.window.get(name).copied().unwrap_or_default();
            tracing::trace!("{name}: {} hits, {} ns", now.hits - before.hits, now.run_ns - before.run_ns);
            let sum = self.timed.entry(name).or_default();
            sum.hits += now.hits.saturating_sub(before.hits);
            sum.run_ns += now.run_ns.saturating_sub(before.run_ns);
        }
        self.window.clear();
    }

    /// The kernel's statistics of every attached program.
    pub(super) fn program_costs(&self) -> HashMap<&'static str, ProgramCost> {
        self.attached
            .iter()
            .filter_map(|attached| attached.way)
            .flat_map(|way| way.hooks)
            .filter_map(|hook| {
                let info = self.ebpf.program(hook.program)?.info().ok()?;
                let cost = ProgramCost { hits: info.run_count(), run_ns: info.run_time().as_nanos() as u64 };
                Some((hook.program, cost))
            })
            .collect()
    }

    /// Runs that the kernel left out, at the most: where a hook has two programs, no more than either of them missed. A
    /// sample more or less does not count.
    pub(super) fn skipped_runs(&self) -> u64 {
        let of = |program| Some(cost::skipped_runs(attach::descriptor(self.ebpf.program(program)?)?));
        let ways = self.attached.iter().filter_map(|attached| attached.way);
        ways.flat_map(|way| {
            way.hooks.iter().filter_map(move |hook| {
                let second = match hook.point {
                    Point::CpuClock(_) | Point::TpBtfAgain(_) => return None,
                    Point::TpBtf(name) => {
                        way.hooks.iter().find(|hook| matches!(hook.point, Point::TpBtfAgain(n) if n == name))
                    }
                    _ => None,
                };
                let first = of(hook.program)?;
                Some(second.and_then(|second| of(second.program)).map_or(first, |second| first.min(second)))
            })
        })
        .sum()
    }
}
