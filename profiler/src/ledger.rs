//! Ledgers in userspace: sums of what the kernel side counted, and their form in the report.
//!
//! Every part is measured by itself; the wall time that none of them explains is shown as unattributed.

use pgstrobe_common::{ledger as kernel, record::Finished};
use serde::{Deserialize, Serialize};

use crate::{
    cause::Sleep,
    postgres::wait_event,
    report::model::{Ledger as Model, LedgerPart},
    time::Merge,
    vocabulary::{Cause, State},
};

/// Sum of many kernel ledgers and of the wall time they cover. Times are nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    pub wall_ns: u64,
    cpu_ns: u64,
    interrupted_ns: u64,
    woken: Sum,
    preempted: Sum,
    throttled: Sum,
    other: Sum,
    /// By `wait_event_info` and kind of sleep; few, so a list.
    parts: Vec<(u32, Sleep, Sum)>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sum {
    ns: u64,
    count: u64,
}

impl Sum {
    fn add(&mut self, ns: u64, count: u64) {
        self.ns += ns;
        self.count += count;
    }
}

impl Merge for Ledger {
    fn merge(&mut self, later: Self) {
        Ledger::merge(self, &later);
    }
}

/// The account of statements that never slept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Short {
    pub wall_ns: u64,
    pub cpu_ns: u64,
    woken: Sum,
    preempted: Sum,
}

impl Short {
    #[inline]
    pub fn of(finished: &Finished) -> Self {
        Self {
            wall_ns: finished.end_ns.saturating_sub(finished.start_ns),
            cpu_ns: finished.cpu_ns,
            woken: Sum { ns: finished.woken_ns, count: (finished.woken_ns != 0) as u64 },
            preempted: Sum { ns: finished.preempted_ns, count: finished.switches as u64 },
        }
    }

    #[inline]
    pub fn add(&mut self, other: &Self) {
        self.wall_ns += other.wall_ns;
        self.cpu_ns += other.cpu_ns;
        self.woken.add(other.woken.ns, other.woken.count);
        self.preempted.add(other.preempted.ns, other.preempted.count);
    }
}

impl Ledger {
    /// Adds `wall_ns` of wall time whose parts are `part`.
    pub fn add(&mut self, wall_ns: u64, part: &kernel::Ledger) {
        self.wall_ns += wall_ns;
        self.cpu_ns += part.cpu_ns;
        self.interrupted_ns += part.interrupted_ns;
        let sleeps = part.switches.saturating_sub(part.preemptions);
        self.woken.add(part.woken_ns, sleeps as u64);
        self.preempted.add(part.preempted_ns, part.preemptions.saturating_sub(part.throttles) as u64);
        self.throttled.add(part.throttled_ns, part.throttles as u64);
        self.other.add(part.other_ns, part.other_count as u64);
        for part in part.parts.iter().take_while(|part| part.count != 0) {
            self.blocked(part.wait_event_info, Sleep::of(part.context), part.ns, part.count as u64);
        }
    }

    /// Adds `wall_ns` of wall time: what a cumulative ledger has come by since it was `before`. A sleep that goes on adds time
    /// to its part, and no count.
    pub fn gain(&mut self, wall_ns: u64, now: &kernel::Ledger, before: &kernel::Ledger) {
        let gained = kernel::Ledger {
            cpu_ns: now.cpu_ns.saturating_sub(before.cpu_ns),
            interrupted_ns: now.interrupted_ns.saturating_sub(before.interrupted_ns),
            woken_ns: now.woken_ns.saturating_sub(before.woken_ns),
            preempted_ns: now.preempted_ns.saturating_sub(before.preempted_ns),
            throttled_ns: now.throttled_ns.saturating_sub(before.throttled_ns),
            other_ns: now.other_ns.saturating_sub(before.other_ns),
            switches: now.switches.saturating_sub(before.switches),
            preemptions: now.preemptions.saturating_sub(before.preemptions),
            throttles: now.throttles.saturating_sub(before.throttles),
            other_count: now.other_count.saturating_sub(before.other_count),
            ..kernel::Ledger::default()
        };
        self.add(wall_ns, &gained);
        for part in now.parts.iter().take_while(|part| part.count != 0) {
            let same = |before: &&kernel::Part| {
                before.count != 0 && (before.wait_event_info, before.context) == (part.wait_event_info, part.context)
            };
            let before = before.parts.iter().find(same).copied().unwrap_or_default();
            let (ns, count) = (part.ns.saturating_sub(before.ns), part.count.saturating_sub(before.count));
            if ns != 0 || count != 0 {
                self.blocked(part.wait_event_info, Sleep::of(part.context), ns, count.into());
            }
        }
    }

    /// Adds statements that never slept: the common case.
    pub fn add_short(&mut self, short: &Short) {
        self.wall_ns += short.wall_ns;
        self.cpu_ns += short.cpu_ns;
        self.woken.add(short.woken.ns, short.woken.count);
        self.preempted.add(short.preempted.ns, short.preempted.count);
    }

    fn blocked(&mut self, event: u32, sleep: Sleep, ns: u64, count: u64) {
        match self.parts.iter_mut().find(|part| part.0 == event && part.1 == sleep) {
            Some((_, _, sum)) => sum.add(ns, count),
            None => self.parts.push((event, sleep, Sum { ns, count })),
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.wall_ns += other.wall_ns;
        self.cpu_ns += other.cpu_ns;
        self.interrupted_ns += other.interrupted_ns;
        self.woken.add(other.woken.ns, other.woken.count);
        self.preempted.add(other.preempted.ns, other.preempted.count);
        self.throttled.add(other.throttled.ns, other.throttled.count);
        self.other.add(other.other.ns, other.other.count);
        for (event, sleep, sum) in &other.parts {
            self.blocked(*event, *sleep, sum.ns, sum.count);
        }
    }

    /// The ledger in the report, with the names of the server's version; the parts sum to the wall time exactly.
    pub fn model(&self, major: u32) -> Model {
        let mut parts = Vec::with_capacity(self.parts.len() + 6);
        // The kernel's run-queue clock and the monotonic one differ by a little: a part is never let past the whole.
        let mut left = self.wall_ns;
        let mut push = |state: State, event: Option<u32>, cause: Option<Cause>, sum: Sum| {
            let ns = sum.ns.min(left);
            left -= ns;
            if ns != 0 || sum.count != 0 {
                let decoded = event.map(|info| wait_event::decode(major, info));
                let (class, event) = decoded.map_or((None, None), |event| (event.class, event.event));
                parts.push(LedgerPart {
                    state: state.into(),
                    wait_event_type: class,
                    wait_event: event,
                    cause: cause.map(Into::into),
                    ns,
                    count: sum.count,
                    p99_ns: None,
                });
            }
            left
        };
        for (event, sleep, sum) in &self.parts {
            let (state, cause) = sleep.part();
            push(state, Some(*event), cause, *sum);
        }
        push(State::Runnable, None, Some(Cause::CpuQuota), self.throttled);
        push(State::Runnable, None, Some(Cause::Preempted), self.preempted);
        push(State::Runnable, None, Some(Cause::Woken), self.woken);
        push(State::Interrupted, None, None, Sum { ns: self.interrupted_ns, count: 0 });
        let left = push(State::Cpu, None, None, Sum { ns: self.cpu_ns, count: 0 });
        // Sleeps that found no room, and whatever else no part explains.
        push(State::Unattributed, None, None, Sum { ns: left, count: self.other.count });
        parts.sort_by_key(|part| std::cmp::Reverse(part.ns));
        parts.shrink_to_fit();
        Model { wall_ns: self.wall_ns, parts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel_ledger() -> kernel::Ledger {
        let mut ledger = kernel::Ledger {
            cpu_ns: 70,
            woken_ns: 5,
            switches: 2,
            preemptions: 1,
            preempted_ns: 4,
            ..Default::default()
        };
        ledger.parts[0] = kernel::Part { count: 1, ns: 20, ..Default::default() };
        ledger
    }

    fn ns_of(model: &Model, state: State) -> u64 {
        model.parts.iter().filter(|part| part.state == state).map(|part| part.ns).sum()
    }

    #[test]
    fn parts_sum_to_the_wall() {
        let mut ledger = Ledger::default();
        ledger.add(100, &kernel_ledger());
        let finished = Finished { end_ns: 10, cpu_ns: 9, preempted_ns: 1, switches: 1, ..Default::default() };
        ledger.add_short(&Short::of(&finished));
        let model = ledger.model(15);
        assert_eq!(model.wall_ns, 110);
        assert_eq!(model.parts.iter().map(|part| part.ns).sum::<u64>(), 110);
        assert_eq!([State::Cpu, State::Runnable, State::Blocked].map(|state| ns_of(&model, state)), [79, 10, 20]);
        assert_eq!(ns_of(&model, State::Unattributed), 1);
    }

    #[test]
    fn what_was_counted_before_is_not_gained() {
        let (before, mut now) = (kernel_ledger(), kernel_ledger());
        now.cpu_ns += 3;
        now.parts[0].ns += 7;
        // One sleep has gone on; another part is new.
        now.parts[1] = kernel::Part { wait_event_info: 1, count: 2, ns: 9, ..Default::default() };
        let mut ledger = Ledger::default();
        ledger.gain(19, &now, &before);
        let parts: Vec<_> = ledger.parts.iter().map(|(event, _, sum)| (*event, sum.ns, sum.count)).collect();
        assert_eq!(parts, [(0, 7, 0), (1, 9, 2)]);
        assert_eq!((ledger.woken.count, ledger.preempted.count), (0, 0));
        let mut again = Ledger::default();
        again.gain(0, &now, &now);
        assert!(again.parts.is_empty());
    }

    #[test]
    fn a_part_larger_than_the_wall_is_cut_not_negative() {
        let mut ledger = Ledger::default();
        ledger.add(10, &kernel_ledger());
        let model = ledger.model(15);
        assert_eq!(model.parts.iter().map(|part| part.ns).sum::<u64>(), 10);
    }
}
