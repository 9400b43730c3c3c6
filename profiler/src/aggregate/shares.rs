//! How much of a part single statements had: a sum does not tell one statement that waited for a second from a thousand
//! that waited for a millisecond.
//!
//! One histogram a part, over the statements that had it; all others count as 0 when the quantile is taken. On-CPU time
//! is the latency itself for a statement that never left the CPU, which most do: only the others are recorded, and take
//! the place of their latency in the histogram of all. Bounded: 64 kinds of waits (about 10 KiB each at the most), the
//! rest have no quantile.

use pgstrobe_common::{ledger::Ledger as KernelLedger, record::Finished};
use serde::{Deserialize, Serialize};

use crate::{
    cause::Sleep,
    hist::Histogram,
    postgres::wait_event::{self, WaitEvent},
    report::model,
    time::Merge,
    vocabulary::{Cause, State},
};

const MAX_PARTS: usize = 64;
const QUANTILE: f64 = 0.99;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Shares {
    /// By wait event and kind of sleep; few, so a list.
    parts: Vec<((u32, Sleep), Histogram)>,
    woken: Histogram,
    preempted: Histogram,
    throttled: Histogram,
    interrupted: Histogram,
    other: Histogram,
    /// Statements that were off the CPU: their latency, and their time on it.
    left: Histogram,
    left_cpu: Histogram,
}

impl Shares {
    /// A statement that never slept.
    #[inline]
    pub fn short(&mut self, finished: &Finished, wall_ns: u64) {
        if finished.woken_ns | finished.preempted_ns != 0 {
            record(&mut self.woken, finished.woken_ns);
            record(&mut self.preempted, finished.preempted_ns);
            self.left.record(wall_ns);
            self.left_cpu.record(finished.cpu_ns);
        }
    }

    pub fn slept(&mut self, wall_ns: u64, ledger: &KernelLedger) {
        for part in ledger.parts.iter().take_while(|part| part.count != 0) {
            let key = (part.wait_event_info, Sleep::of(part.context));
            if let Some(histogram) = self.part(key) {
                histogram.record(part.ns);
            }
        }
        for (histogram, ns) in [
            (&mut self.woken, ledger.woken_ns),
            (&mut self.preempted, ledger.preempted_ns),
            (&mut self.throttled, ledger.throttled_ns),
            (&mut self.interrupted, ledger.interrupted_ns),
            (&mut self.other, ledger.other_ns),
        ] {
            record(histogram, ns);
        }
        self.left.record(wall_ns);
        self.left_cpu.record(ledger.cpu_ns);
    }

    /// The histogram of a kind of wait, where there is room for it.
    fn part(&mut self, key: (u32, Sleep)) -> Option<&mut Histogram> {
        let known = self.parts.iter().position(|(known, _)| *known == key);
        let at = known.or_else(|| {
            (self.parts.len() < MAX_PARTS).then(|| {
                self.parts.push((key, Histogram::new()));
                self.parts.len() - 1
            })
        })?;
        self.parts.get_mut(at).map(|(_, histogram)| histogram)
    }

    /// Enters the quantiles into the ledger of all statements, whose latencies are `all`.
    pub fn enter(&self, ledger: &mut model::Ledger, all: &Histogram, major: u32) {
        let n = all.count();
        let mut set = |state: State, event: &WaitEvent, cause: Option<Cause>, of: &Histogram| {
            let same = |part: &&mut model::LedgerPart| {
                part.state == state
                    && part.cause() == cause
                    && part.wait_event_type == event.class
                    && part.wait_event == event.event
            };
            let p99 = Some(of.quantile_of(QUANTILE, n));
            ledger.parts.iter_mut().filter(same).for_each(|part| part.p99_ns = part.p99_ns.max(p99));
        };
        for ((event, sleep), histogram) in &self.parts {
            let (state, cause) = sleep.part();
            set(state, &wait_event::decode(major, *event), cause, histogram);
        }
        let none = WaitEvent::default();
        set(State::Runnable, &none, Some(Cause::Woken), &self.woken);
        set(State::Runnable, &none, Some(Cause::Preempted), &self.preempted);
        set(State::Runnable, &none, Some(Cause::CpuQuota), &self.throttled);
        set(State::Interrupted, &none, None, &self.interrupted);
        set(State::Unattributed, &none, None, &self.other);
        let mut cpu = all.clone();
        cpu.replace(&self.left, &self.left_cpu);
        set(State::Cpu, &none, None, &cpu);
    }
}

impl Merge for Shares {
    fn merge(&mut self, later: Self) {
        let Self { parts, woken, preempted, throttled, interrupted, other, left, left_cpu } = &later;
        for (key, histogram) in parts {
            if let Some(known) = self.part(*key) {
                known.merge(histogram);
            }
        }
        self.woken.merge(woken);
        self.preempted.merge(preempted);
        self.throttled.merge(throttled);
        self.interrupted.merge(interrupted);
        self.other.merge(other);
        self.left.merge(left);
        self.left_cpu.merge(left_cpu);
    }
}

fn record(histogram: &mut Histogram, ns: u64) {
    if ns != 0 {
        histogram.record(ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ledger, Short};

    const LOCK: u32 = 0x0300_0000;
    const CLIENT: u32 = 0x0600_0000;

    fn slept(event: u32, ns: u64, woken_ns: u64, cpu_ns: u64) -> KernelLedger {
        let mut ledger = KernelLedger { woken_ns, cpu_ns, switches: 1, ..Default::default() };
        let part = &mut ledger.parts[0];
        (part.wait_event_info, part.count, part.ns) = (event, 1, ns);
        ledger
    }

    /// The values of all statements for each part, in order, say what the quantile has to be.
    #[test]
    fn quantiles_are_over_all_statements() {
        let (mut shares, mut all, mut sum) = (Shares::default(), Histogram::new(), Ledger::default());
        let (mut cpu, mut runnable, mut lock, mut client) = (vec![], vec![], vec![], vec![]);
        for n in 0..10_000u64 {
            let wall = 100_000 + n * 10;
            all.record(wall);
            let (mut waited, mut ran, mut run) = ([0, 0], wall, 0);
            if n % 50 == 0 {
                // 2 % wait for a lock.
                (waited[0], run) = (n * 5, 7_000);
            } else if n % 200 == 1 {
                // Half a percent wait for the client.
                (waited[1], run) = (50_000, 0);
            } else if n % 3 == 0 {
                run = 1_000 + n;
            }
            ran -= waited[0] + waited[1] + run;
            match waited {
                [0, 0] => {
                    let finished = Finished { end_ns: wall, cpu_ns: ran, woken_ns: run, ..Default::default() };
                    shares.short(&finished, wall);
                    sum.add_short(&Short::of(&finished));
                }
                [ns, other] => {
                    let ledger = if ns != 0 { slept(LOCK, ns, run, ran) } else { slept(CLIENT, other, run, ran) };
                    shares.slept(wall, &ledger);
                    sum.add(wall, &ledger);
                }
            }
            cpu.push(ran);
            runnable.push(run);
            lock.push(waited[0]);
            client.push(waited[1]);
        }
        let mut ledger = sum.model(15);
        shares.enter(&mut ledger, &all, 15);
        let check = |state: State, class: Option<&str>, mut values: Vec<u64>| {
            let part = ledger.parts.iter().find(|p| p.state == state && p.wait_event_type.as_deref() == class).unwrap();
            values.sort_unstable();
            let (got, expected) = (part.p99_ns.unwrap(), values[9_899]);
            assert!(got >= expected && got - expected <= expected / 100, "{state} {class:?}: {got}, not {expected}");
        };
        check(State::Cpu, None, cpu);
        check(State::Runnable, None, runnable);
        check(State::Blocked, Some("Lock"), lock);
        check(State::Blocked, Some("Client"), client);
    }

    #[test]
    fn more_parts_than_are_kept_have_no_quantile() {
        let (mut shares, mut all, mut sum) = (Shares::default(), Histogram::new(), Ledger::default());
        for event in 0..MAX_PARTS as u32 + 5 {
            let ledger = slept(LOCK + event, 10, 0, 10);
            all.record(20);
            shares.slept(20, &ledger);
            sum.add(20, &ledger);
        }
        assert_eq!(shares.parts.len(), MAX_PARTS);
        shares.enter(&mut sum.model(15), &all, 15);
    }
}
