//! What the programs cost, by the kernel's own statistics, and which of their runs it left out.

use std::{collections::HashMap, time::Duration};

use aya::Ebpf;

use super::{
    attach::{self, Attached},
    cost::{self, ProgramCost, Timing},
};
use crate::{pace::Every, probes::Point};

/// How often the kernel times the programs for a while: that makes each hit some 20 ns dearer.
const PERIOD: Duration = Duration::from_secs(2);
/// How long it does, at least: until the next tick.
const WINDOW: Duration = Duration::from_millis(50);

/// The statistics of the windows so far.
pub(super) struct Costs {
    /// All runs are timed.
    exact: bool,
    timing: Option<Timing>,
    /// The kernel refused to time the programs.
    pub untimed: bool,
    due: Every,
    open: Every,
    /// At the beginning of the window.
    window: HashMap<&'static str, ProgramCost>,
    /// Of all windows, by program.
    timed: HashMap<&'static str, ProgramCost>,
}

impl Costs {
    /// `exact`: every run of every program is timed, which costs more.
    pub fn new(exact: bool) -> Self {
        Self {
            exact,
            timing: None,
            untimed: false,
            due: Every::new(PERIOD),
            open: Every::new(WINDOW),
            window: HashMap::new(),
            timed: HashMap::new(),
        }
    }

    /// The programs are attached.
    pub fn begin(&mut self, ebpf: &Ebpf, attached: &[Attached]) {
        if self.exact {
            self.open(ebpf, attached);
        }
    }

    /// Regularly: opens a window, or closes it.
    pub fn tick(&mut self, ebpf: &Ebpf, attached: &[Attached]) {
        if self.exact {
            return;
        }
        if self.timing.is_some() {
            if self.open.is_due() {
                self.close(ebpf, attached);
            }
        } else if self.due.is_due() {
            self.open(ebpf, attached);
        }
    }

    fn open(&mut self, ebpf: &Ebpf, attached: &[Attached]) {
        self.window = program_costs(ebpf, attached);
        self.timing = Timing::start();
        self.untimed = self.timing.is_none();
        self.open.restart();
    }

    /// Closes the window that is open; where all runs are timed, only for the `last` report.
    pub fn settle(&mut self, ebpf: &Ebpf, attached: &[Attached], last: bool) {
        if self.timing.is_some() && (last || !self.exact) {
            self.close(ebpf, attached);
        }
    }

    fn close(&mut self, ebpf: &Ebpf, attached: &[Attached]) {
        self.timing = None;
        for (name, now) in program_costs(ebpf, attached) {
            let before = self.window.get(name).copied().unwrap_or_default();
            let (hits, run_ns) = (now.hits.saturating_sub(before.hits), now.run_ns.saturating_sub(before.run_ns));
            tracing::trace!("{name}: {hits} hits, {run_ns} ns");
            let sum = self.timed.entry(name).or_default();
            sum.hits += hits;
            sum.run_ns += run_ns;
        }
        self.window.clear();
    }

    /// What the windows saw of a program.
    pub fn of(&self, program: &str) -> ProgramCost {
        self.timed.get(program).copied().unwrap_or_default()
    }
}

/// The kernel's statistics of every attached program.
fn program_costs(ebpf: &Ebpf, attached: &[Attached]) -> HashMap<&'static str, ProgramCost> {
    let hooks = attached.iter().filter_map(|attached| attached.way).flat_map(|way| way.hooks);
    hooks
        .filter_map(|hook| {
            let info = ebpf.program(hook.program)?.info().ok()?;
            let cost = ProgramCost { hits: info.run_count(), run_ns: info.run_time().as_nanos() as u64 };
            Some((hook.program, cost))
        })
        .collect()
}

/// Runs that the kernel left out, at the most: where a hook has two programs, no more than either of them missed. A
/// sample more or less does not count.
pub(super) fn skipped_runs(ebpf: &Ebpf, attached: &[Attached]) -> u64 {
    let of = |program| Some(cost::skipped_runs(attach::descriptor(ebpf.program(program)?)?));
    let ways = attached.iter().filter_map(|attached| attached.way);
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
