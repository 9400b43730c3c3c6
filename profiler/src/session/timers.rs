//! The timers of the CPUs. A timer ends with its CPU: where one is taken out, as all but one are while the machine is
//! suspended, it does not come back with it.

use std::time::{Duration, Instant};

use aya::{Ebpf, programs::PerfEvent};
use pgstrobe_common::state::HIT_SAMPLE;

use super::Session;
use crate::{attach, counters::per_cpu, probes::Point};

/// How often they are looked after; each ticks dozens of times meanwhile.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Timers {
    looked: Instant,
    /// Ticks so far, by the number of the CPU.
    ticks: Vec<u64>,
}

impl Timers {
    pub(super) fn new(ebpf: &Ebpf) -> Self {
        Self { looked: Instant::now(), ticks: ticks(ebpf) }
    }
}

impl Session {
    /// Starts the timers anew that do not tick, and those of new CPUs.
    pub(super) fn follow_cpus(&mut self) {
        // Empty programs count no ticks.
        if self.timers.looked.elapsed() < LOOK || self.config.empty_programs {
            return;
        }
        let hooks = self.attached.iter().filter_map(|attached| attached.way).flat_map(|way| way.hooks);
        let timer = hooks.filter_map(|hook| match hook.point {
            Point::CpuClock(hz) => Some((hook.program, hz)),
            _ => None,
        });
        let (Some((name, hz)), Ok(cpus)) = (timer.into_iter().next(), attach::cpus()) else { return };
        let now = ticks(&self.ebpf);
        let before = std::mem::replace(&mut self.timers, Timers { looked: Instant::now(), ticks: now }).ticks;
        let now = &self.timers.ticks;
        let Some(Ok(program)) = self.ebpf.program_mut(name).map(<&mut PerfEvent>::try_from) else { return };
        self.links.timers.retain(|cpu, _| cpus.contains(cpu));
        for cpu in cpus {
            let ticks = now.get(cpu as usize).zip(before.get(cpu as usize)).is_none_or(|(now, before)| now > before);
            if self.links.timers.contains_key(&cpu) && ticks {
                continue;
            }
            self.links.timers.remove(&cpu);
            match attach::start_timer(program, hz, cpu) {
                Ok(link) => {
                    tracing::debug!("the timer of CPU {cpu} is started anew");
                    self.links.timers.insert(cpu, link);
                }
                Err(error) => tracing::debug!("no timer on CPU {cpu}: {error:#}"),
            }
        }
    }
}

fn ticks(ebpf: &Ebpf) -> Vec<u64> {
    per_cpu(ebpf, "HITS", HIT_SAMPLE)
}
