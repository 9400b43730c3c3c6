//! The timers of the CPUs. A timer ends with its CPU: where one is taken out, as all but one are while the machine is
//! suspended, it does not come back with it.

use std::time::Duration;

use aya::{Ebpf, programs::PerfEvent};
use pgstrobe_common::hits::Hit;

use super::{
    attach::{self, Attached, Links},
    counters::per_cpu,
};
use crate::{pace::Every, probes::Point};

/// How often they are looked after; each ticks dozens of times meanwhile.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Timers {
    look: Every,
    /// Ticks so far, by the number of the CPU.
    ticks: Vec<u64>,
}

impl Timers {
    pub fn new(ebpf: &Ebpf) -> Self {
        Self { look: Every::after(LOOK), ticks: ticks(ebpf) }
    }

    /// Starts the timers anew that do not tick, and those of new CPUs.
    pub fn follow(&mut self, ebpf: &mut Ebpf, attached: &[Attached], links: &mut Links) {
        if !self.look.is_due() {
            return;
        }
        let hooks = attached.iter().filter_map(|attached| attached.way).flat_map(|way| way.hooks);
        let timer = hooks.filter_map(|hook| match hook.point {
            Point::CpuClock(hz) => Some((hook.program, hz)),
            _ => None,
        });
        let (Some((name, hz)), Ok(cpus)) = (timer.into_iter().next(), attach::cpus()) else { return };
        let now = ticks(ebpf);
        let before = std::mem::replace(&mut self.ticks, now);
        let now = &self.ticks;
        let Some(Ok(program)) = ebpf.program_mut(name).map(<&mut PerfEvent>::try_from) else { return };
        links.timers.retain(|cpu, _| cpus.contains(cpu));
        for cpu in cpus {
            let ticks = now.get(cpu as usize).zip(before.get(cpu as usize)).is_none_or(|(now, before)| now > before);
            if links.timers.contains_key(&cpu) && ticks {
                continue;
            }
            links.timers.remove(&cpu);
            match attach::start_timer(program, hz, cpu) {
                Ok(link) => {
                    tracing::debug!("the timer of CPU {cpu} is started anew");
                    links.timers.insert(cpu, link);
                }
                Err(error) => tracing::debug!("no timer on CPU {cpu}: {error:#}"),
            }
        }
    }
}

fn ticks(ebpf: &Ebpf) -> Vec<u64> {
    per_cpu(ebpf, "HITS", Hit::Sample as u32)
}
