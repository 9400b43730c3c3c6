//! Losses, probes and cost of a stretch of time, and what a report says of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::cost::ProgramCost;
use crate::{report::model, time::Merge};

/// How far what was measured can be trusted, and what it cost, of the whole host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    pub(super) lost: BTreeMap<String, u64>,
    pub(super) probes: Vec<Probe>,
    /// The kernel timed all runs.
    pub(super) is_exact: bool,
    /// CPU time of pgstrobe itself.
    pub(super) own_cpu_ns: u64,
    /// Memory at the end: pgstrobe's own, and that of its maps.
    pub(super) own_rss_bytes: u64,
    pub(super) map_bytes: u64,
    /// On what is not known, for people.
    pub notes: Vec<String>,
}

/// A probe, as it was at the end, and its hits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Probe {
    pub name: String,
    pub level: String,
    pub hooks: Vec<String>,
    pub attached: bool,
    pub reason: Option<String>,
    /// All, and those that are in its cost: not the ones of a program that a probe before shares.
    pub hits: u64,
    pub own_hits: u64,
    /// Those that were timed since the probe was attached, up to the end.
    pub timed: ProgramCost,
}

impl Cut {
    /// Fills all but the notes; `statements` are those of all servers, which the programs ran for.
    pub fn fill(&self, coverage: &mut model::Coverage, statements: u64) {
        coverage.lost.extend(self.lost.clone());
        coverage.probes = self.probes.iter().map(|probe| probe.model(self.is_exact)).collect();
        let own = |measured: bool| {
            let probes = self.probes.iter().zip(&coverage.probes).filter(move |(_, model)| model.measured || !measured);
            probes.map(|(probe, _)| probe.own_hits).sum::<u64>()
        };
        let run_ns = coverage.probes.iter().map(|probe| probe.run_ns).sum();
        coverage.overhead = model::Overhead {
            hits: own(false),
            run_ns,
            unmeasured_hits: own(false) - own(true),
            run_ns_per_statement: run_ns as f64 / statements.max(1) as f64,
            source: if self.is_exact { "kernel" } else { "calibrated" }.into(),
            own_cpu_ns: self.own_cpu_ns,
            own_rss_bytes: self.own_rss_bytes,
            map_bytes: self.map_bytes,
        };
    }
}

impl Probe {
    fn model(&self, is_exact: bool) -> model::ProbeCoverage {
        model::ProbeCoverage {
            name: self.name.clone(),
            level: self.level.clone(),
            hooks: self.hooks.clone(),
            attached: self.attached,
            hits: self.hits,
            run_ns: if is_exact { self.timed.run_ns } else { extrapolated(self.timed, self.own_hits) },
            measured: self.own_hits == 0 || self.timed.hits != 0,
            reason: self.reason.clone(),
        }
    }
}

impl Merge for Cut {
    fn merge(&mut self, later: Self) {
        if *self == Self::default() {
            *self = later;
            return;
        }
        Merge::merge(&mut self.lost, later.lost);
        for probe in later.probes {
            match self.probes.iter_mut().find(|one| one.name == probe.name) {
                Some(one) => one.merge(probe),
                None => self.probes.push(probe),
            }
        }
        self.is_exact &= later.is_exact;
        self.own_cpu_ns += later.own_cpu_ns;
        (self.own_rss_bytes, self.map_bytes) = (later.own_rss_bytes, later.map_bytes);
        self.notes.extend(later.notes.into_iter().filter(|note| !self.notes.contains(note)).collect::<Vec<_>>());
    }
}

impl Merge for Probe {
    fn merge(&mut self, later: Self) {
        *self = Self {
            hits: self.hits + later.hits,
            own_hits: self.own_hits + later.own_hits,
            // Of one that is not attached any more, what is known of it stays.
            timed: if later.timed.hits < self.timed.hits { self.timed } else { later.timed },
            ..later
        };
    }
}

/// What so many hits cost by what the timed ones did, in nanoseconds; 0 where none was timed, which is then said.
fn extrapolated(timed: ProgramCost, hits: u64) -> u64 {
    let run_ns = u128::from(hits) * u128::from(timed.run_ns) / u128::from(timed.hits.max(1));
    if timed.hits == 0 { 0 } else { u64::try_from(run_ns).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn cost(hits: u64, run_ns: u64) -> ProgramCost {
        ProgramCost { hits, run_ns }
    }

    #[test]
    fn hits_that_were_not_timed_cost_what_the_timed_ones_do() {
        assert_eq!(extrapolated(cost(10, 1_000), 55), 5_500);
        assert_eq!(extrapolated(cost(0, 0), 55), 0);
        assert_eq!(extrapolated(cost(1, u64::MAX), u64::MAX), u64::MAX);
    }

    /// What came between two moments, in milliseconds.
    fn between(from: u64, to: u64) -> Cut {
        let ms = to - from;
        let probe = |name: &str, timed| Probe {
            name: name.into(),
            attached: to > 10,
            hits: ms * 3,
            own_hits: ms * 2,
            timed,
            ..Probe::default()
        };
        Cut {
            lost: BTreeMap::from([("ring_buffer_full".into(), ms), ("programs_skipped".into(), 0)]),
            probes: vec![probe("statement", cost(to / 10, to * 77)), probe("fsync", cost(0, 0))],
            own_cpu_ns: ms * 1_000,
            own_rss_bytes: to,
            map_bytes: to,
            notes: vec!["the cost is not measured".into()],
            ..Cut::default()
        }
    }

    #[test]
    fn two_parts_are_the_whole() {
        let mut merged = Cut::default();
        [between(0, 100), between(100, 110), between(110, 1_000)].into_iter().for_each(|part| merged.merge(part));
        let whole = between(0, 1_000);
        assert_eq!(merged, whole);
        let kept = serde_json::to_string(&merged).expect("plain data");
        assert_eq!(serde_json::from_str::<Cut>(&kept).expect("what was written"), whole);
        let mut coverage = model::Coverage::default();
        merged.fill(&mut coverage, 10);
        assert_eq!(coverage.lost["ring_buffer_full"], 1_000);
        let overhead = &coverage.overhead;
        assert_eq!((overhead.hits, overhead.unmeasured_hits, overhead.run_ns), (4_000, 2_000, 1_540_000));
        assert!((overhead.run_ns_per_statement - 154_000.0).abs() < 0.1);
        assert_eq!(coverage.probes.iter().map(|probe| probe.measured).collect::<Vec<_>>(), [true, false]);
    }
}
