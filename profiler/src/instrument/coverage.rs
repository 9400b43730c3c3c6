//! How far what was measured can be trusted, and what it cost: losses, hits of every probe, run time, memory.

mod cut;

use std::collections::HashSet;

use pgstrobe_common::{hits::Hit, lost::Lost};

use super::{
    Instrument, attach,
    cost::{self, ProgramCost},
    costs,
    counters::counter,
};
use crate::{
    probes::{Hook, Point},
    time::Since,
};
pub use cut::Cut;
use cut::Probe;

/// By the number of the kind.
type Hits = [u64; Hit::ALL.len()];

/// Counters up to the last [`Instrument::cut`].
#[derive(Default)]
pub(super) struct Before {
    hits: Since<Hits>,
    lost: Since<[u64; Lost::ALL.len()]>,
    skipped: Since<u64>,
    own_cpu_ns: Since<u64>,
}

impl Before {
    /// What proved the hooks is none of the profile.
    pub fn now(instrument: &Instrument) -> Self {
        Self { hits: Since::from(instrument.hits()), own_cpu_ns: Since::from(cost::own_cpu_ns()), ..Self::default() }
    }
}

impl Instrument {
    fn hits(&self) -> Hits {
        Hit::ALL.map(|kind| counter(&self.ebpf, "HITS", kind as u32))
    }

    /// What there was since the last cut. `last`: there will be no other.
    pub fn cut(&mut self, last: bool) -> Cut {
        self.costs.settle(&self.ebpf, &self.attached, last);
        let mut cut = Cut { is_exact: self.exact, ..Cut::default() };
        let lost = Lost::ALL.map(|reason| counter(&self.ebpf, "LOST", reason as u32));
        for (reason, n) in Lost::ALL.into_iter().zip(self.before.lost.take(lost)) {
            cut.lost.insert(reason.name().into(), n);
        }
        let skipped = self.before.skipped.take(costs::skipped_runs(&self.ebpf, &self.attached));
        cut.lost.insert("programs_skipped".into(), skipped);
        let hits = self.hits();
        let hits = self.before.hits.take(hits);
        let mut told = Told::default();
        cut.probes = self.attached.iter().map(|attached| self.probe(attached, &hits, &mut told)).collect();
        cut.own_cpu_ns = self.before.own_cpu_ns.take(cost::own_cpu_ns());
        (cut.own_rss_bytes, cut.map_bytes) = (cost::own_rss_bytes(), cost::map_bytes());
        if self.costs.untimed {
            cut.notes.push(
                "the cost is not measured: the kernel times programs only for CAP_SYS_ADMIN, and from 5.8 on; its 0 means \
                 unknown"
                    .into(),
            );
        }
        cut
    }

    /// Runs of a program that a probe before shares are in the cost of that one.
    fn probe(&self, attached: &attach::Attached, hits: &Hits, told: &mut Told) -> Probe {
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
        Probe {
            name: probe.name.into(),
            level: probe.level.name().into(),
            hooks: hooks.iter().filter(|hook| self.is_loaded(hook)).map(|hook| hook.point.describe()).collect(),
            attached: attached.way.is_some(),
            reason: attached.reason.clone(),
            hits: if self.exact { met } else { total(probe.hit_kinds, hits) },
            own_hits: if self.exact { timed.hits } else { total(&own, hits) },
            timed,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_a_program_that_probes_share_are_in_the_cost_of_the_first() {
        let mut told = Told::default();
        assert_eq!(told.first_of(&[Hit::Sync, Hit::Write]), [Hit::Sync, Hit::Write]);
        assert_eq!(told.first_of(&[Hit::File, Hit::Write]), [Hit::File]);
        assert_eq!(told.first_of(&[Hit::Write]), []);
    }
}
