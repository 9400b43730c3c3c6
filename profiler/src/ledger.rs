//! Ledgers in userspace: sums of what the kernel side counted, and their form in the report.
//!
//! On-CPU time is not counted anywhere: it is the wall time less all other parts, so that every ledger adds up.

use pgstrobe_common::ledger as kernel;

use crate::{
    postgres::wait_event,
    report::model::{Ledger as Model, LedgerPart},
};

/// Sum of many kernel ledgers and of the wall time they cover.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Nanoseconds.
    pub wall_ns: u64,
    runnable_ns: u64,
    /// Switches away from the CPU.
    switches: u64,
    other: Sum,
    /// By `wait_event_info`; few, so a list.
    parts: Vec<(u32, Sum)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    ns: u64,
    count: u64,
}

impl Ledger {
    /// Adds `wall_ns` of wall time whose parts are `part`.
    pub fn add(&mut self, wall_ns: u64, part: &kernel::Ledger) {
        self.wall_ns += wall_ns;
        self.runnable_ns += part.runnable_ns;
        self.switches += part.switches as u64;
        self.other.ns += part.other_ns;
        self.other.count += part.other_count as u64;
        for part in part.parts.iter().take_while(|part| part.count != 0) {
            self.blocked(part.wait_event_info, part.ns, part.count as u64);
        }
    }

    /// Adds a statement that never slept: the common case.
    pub fn add_short(&mut self, wall_ns: u64, runnable_ns: u64, switches: u32) {
        self.wall_ns += wall_ns;
        self.runnable_ns += runnable_ns;
        self.switches += switches as u64;
    }

    fn blocked(&mut self, event: u32, ns: u64, count: u64) {
        match self.parts.iter_mut().find(|(known, _)| *known == event) {
            Some((_, sum)) => {
                sum.ns += ns;
                sum.count += count;
            }
            None => self.parts.push((event, Sum { ns, count })),
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.wall_ns += other.wall_ns;
        self.runnable_ns += other.runnable_ns;
        self.switches += other.switches;
        self.other.ns += other.other.ns;
        self.other.count += other.other.count;
        for (event, sum) in &other.parts {
            self.blocked(*event, sum.ns, sum.count);
        }
    }

    /// The ledger in the report, with the names of the server's version; the parts sum to the wall time exactly.
    pub fn model(&self, major: u32) -> Model {
        let mut parts = Vec::with_capacity(self.parts.len() + 3);
        let mut push = |state: &'static str, event: Option<u32>, ns: u64, count: u64| {
            if ns != 0 || count != 0 {
                let decoded = event.map(|info| wait_event::decode(major, info));
                let (class, event) = decoded.map_or((None, None), |event| (event.class, event.event));
                parts.push(LedgerPart {
                    state: state.into(),
                    wait_event_type: class,
                    wait_event: event,
                    cause: None,
                    ns,
                    count,
                    p99_ns: None,
                });
            }
        };
        // The kernel's run-queue clock and the monotonic one differ by a little: a part is never let past the whole.
        let mut left = self.wall_ns;
        let mut take = |ns: u64| {
            let taken = ns.min(left);
            left -= taken;
            taken
        };
        for (event, sum) in &self.parts {
            push("blocked", Some(*event), take(sum.ns), sum.count);
        }
        push("unattributed", None, take(self.other.ns), self.other.count);
        push("runnable", None, take(self.runnable_ns), self.switches);
        push("cpu", None, left, 0);
        parts.sort_by_key(|part| std::cmp::Reverse(part.ns));
        Model { wall_ns: self.wall_ns, parts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel_ledger() -> kernel::Ledger {
        let mut ledger = kernel::Ledger { runnable_ns: 5, switches: 2, ..Default::default() };
        ledger.parts[0] = kernel::Part { wait_event_info: 0, count: 1, ns: 20 };
        ledger
    }

    #[test]
    fn parts_sum_to_the_wall() {
        let mut ledger = Ledger::default();
        ledger.add(100, &kernel_ledger());
        ledger.add_short(10, 1, 1);
        let model = ledger.model(15);
        assert_eq!(model.wall_ns, 110);
        assert_eq!(model.parts.iter().map(|part| part.ns).sum::<u64>(), 110);
        let cpu = model.parts.iter().find(|part| part.state == "cpu").unwrap();
        assert_eq!(cpu.ns, 110 - 26);
    }

    #[test]
    fn a_part_larger_than_the_wall_is_cut_not_negative() {
        let mut ledger = Ledger::default();
        ledger.add(10, &kernel_ledger());
        let model = ledger.model(15);
        assert_eq!(model.parts.iter().map(|part| part.ns).sum::<u64>(), 10);
    }
}
