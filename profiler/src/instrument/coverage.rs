//! How far what was measured can be trusted, and what it cost: losses, hits of every probe, run time, memory.

use std::collections::{BTreeMap, HashSet};

use pgstrobe_common::{hits::Hit, lost::Lost};

use super::{
    Instrument, attach,
    cost::{self, ProgramCost},
    costs,
    counters::counter,
};
use crate::{
    probes::{Hook, Point},
    report::model,
};

/// By the number of the kind.
type Hits = [u64; Hit::ALL.len()];

/// Counters up to the last [`Instrument::cut`].
#[derive(Default)]
pub(super) struct Before {
    hits: Hits,
    lost: [u64; Lost::ALL.len()],
    skipped: u64,
    own_cpu_ns: u64,
}

impl Before {
    /// What proved the hooks is none of the profile.
    pub fn now(instrument: &Instrument) -> Self {
        Self {
            hits: Hit::ALL.map(|kind| counter(&instrument.ebpf, "HITS", kind as u32)),
            lost: [0; Lost::ALL.len()],
            skipped: 0,
            own_cpu_ns: cost::own_cpu_ns(),
        }
    }
}

/// What a counter gained. One that runs backwards was taken from a program that is gone: nothing is known of it.
fn gained(before: &mut u64, now: u64) -> u64 {
    now.saturating_sub(std::mem::replace(before, now))
}

/// Losses, probes and cost of a stretch of time, of the whole host.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    pub lost: BTreeMap<String, u64>,
    pub probes: Vec<model::ProbeCoverage>,
    /// Without the cost of a statement, which knows nothing of statements.
    pub overhead: model::Overhead,
    pub notes: Vec<String>,
}

impl Instrument {
    /// What there was since the last cut. `last`: there will be no other.
    pub fn cut(&mut self, last: bool) -> Cut {
        self.costs.settle(&self.ebpf, &self.attached, last);
        let mut cut = Cut::default();
        for (reason, before) in Lost::ALL.into_iter().zip(&mut self.before.lost) {
            let n = gained(before, counter(&self.ebpf, "LOST", reason as u32));
            cut.lost.insert(reason.name().into(), n);
        }
        let skipped = gained(&mut self.before.skipped, costs::skipped_runs(&self.ebpf, &self.attached));
        cut.lost.insert("programs_skipped".into(), skipped);
        let hits =
            Hit::ALL.map(|kind| gained(&mut self.before.hits[kind as usize], counter(&self.ebpf, "HITS", kind as u32)));
        let (mut told, mut own_hits, mut unmeasured_hits) = (Told::default(), 0, 0);
        for attached in &self.attached {
            let (probe, own) = self.probe(attached, &hits, &mut told);
            own_hits += own;
            unmeasured_hits += if probe.measured { 0 } else { own };
            cut.probes.push(probe);
        }
        let own_cpu_ns = cost::own_cpu_ns();
        cut.overhead = model::Overhead {
            hits: own_hits,
            run_ns: cut.probes.iter().map(|probe| probe.run_ns).sum(),
            unmeasured_hits,
            run_ns_per_statement: 0.0,
            source: if self.exact { "kernel" } else { "calibrated" }.into(),
            own_cpu_ns: gained(&mut self.before.own_cpu_ns, own_cpu_ns),
            own_rss_bytes: cost::own_rss_bytes(),
            map_bytes: cost::map_bytes(),
        };
        if self.costs.untimed {
            cut.notes.push(
                "the cost is not measured: the kernel times programs only for CAP_SYS_ADMIN, and from 5.8 on; its 0 means \
                 unknown"
                    .into(),
            );
        }
        cut
    }

    /// A probe, and how many of its hits are in its cost: those of a program that a probe before shares are in that one's.
    fn probe(&self, attached: &attach::Attached, hits: &Hits, told: &mut Told) -> (model::ProbeCoverage, u64) {
        let probe = attached.probe;
        let hooks = attached.way.map_or(&[][..], |way| way.hooks);
        let (mut timed, mut met) = (ProgramCost::default(), 0);
        for hook in hooks {
            let cost = self.costs.of(hook.program);
            // The second program of a hook adds to what a hit costs.
            let hits = if matches!(hook.point, Point::TpBtfAgain(_)) { 0 } else { cost.hits };
            met += hits;
            if !told.programs.contains(hook.program) {
                timed.hits += hits;
                timed.run_ns += cost.run_ns;
            }
        }
        told.programs.extend(hooks.iter().map(|hook| hook.program));
        let own = told.first_of(if attached.way.is_some() { probe.hit_kinds } else { &[] });
        let cost = if self.exact { timed } else { extrapolated(timed, total(&own, hits)) };
        let coverage = model::ProbeCoverage {
            name: probe.name.into(),
            level: probe.level.name().into(),
            hooks: hooks.iter().filter(|hook| self.is_loaded(hook)).map(|hook| hook.point.describe()).collect(),
            attached: attached.way.is_some(),
            hits: if self.exact { met } else { total(probe.hit_kinds, hits) },
            run_ns: cost.run_ns,
            measured: cost.hits == 0 || timed.hits != 0,
            reason: attached.reason.clone(),
        };
        (coverage, cost.hits)
    }

    fn is_loaded(&self, hook: &Hook) -> bool {
        self.ebpf.program(hook.program).is_some_and(|program| attach::descriptor(program).is_some())
    }
}

/// What is in the cost of the probes told so far: a program that several of them share runs once.
#[derive(Default)]
struct Told {
    programs: HashSet<&'static str>,
    kinds: Vec<Hit>,
}

impl Told {
    /// Those of the kinds that no probe has told of.
    fn first_of(&mut self, kinds: &[Hit]) -> Vec<Hit> {
        let own: Vec<Hit> = kinds.iter().copied().filter(|kind| !self.kinds.contains(kind)).collect();
        self.kinds.extend(&own);
        own
    }
}

fn total(kinds: &[Hit], hits: &Hits) -> u64 {
    kinds.iter().map(|kind| hits[*kind as usize]).sum()
}

/// The cost of so many hits by what the timed ones cost; 0 where none was timed, which is then said.
fn extrapolated(timed: ProgramCost, hits: u64) -> ProgramCost {
    let run_ns = u128::from(hits) * u128::from(timed.run_ns) / u128::from(timed.hits.max(1));
    ProgramCost { hits, run_ns: if timed.hits == 0 { 0 } else { u64::try_from(run_ns).unwrap_or(u64::MAX) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_runs_backwards_gains_nothing() {
        let mut before = 5;
        assert_eq!((gained(&mut before, 12), gained(&mut before, 3), gained(&mut before, 10)), (7, 0, 7));
    }

    #[test]
    fn runs_of_a_program_that_probes_share_are_in_the_cost_of_the_first() {
        let mut told = Told::default();
        assert_eq!(told.first_of(&[Hit::Sync, Hit::Write]), [Hit::Sync, Hit::Write]);
        assert_eq!(told.first_of(&[Hit::File, Hit::Write]), [Hit::File]);
        assert_eq!(told.first_of(&[Hit::Write]), []);
    }

    #[test]
    fn hits_that_were_not_timed_cost_what_the_timed_ones_do() {
        let cost = |hits, run_ns| ProgramCost { hits, run_ns };
        assert_eq!(extrapolated(cost(10, 1_000), 55), cost(55, 5_500));
        assert_eq!(extrapolated(cost(0, 0), 55), cost(55, 0));
        assert_eq!(extrapolated(cost(1, u64::MAX), u64::MAX), cost(u64::MAX, u64::MAX));
    }
}
