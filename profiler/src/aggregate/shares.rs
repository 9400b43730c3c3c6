//! How much of a part single statements had: a sum does not tell one statement that waited for a second from a thousand
//! that waited for a millisecond.
//!
//! One histogram a part, over the statements that had it; all others count as 0 when the quantile is taken. On-CPU time
//! is the latency itself for a statement that never left the CPU, which most do: only the others are recorded, and take
//! the place of their latency in the histogram of all. Bounded: 64 kinds of waits (about 10 KiB each at the most), the
//! rest have no quantile.

use pgstrobe_common::ledger::{Ledger as KernelLedger, Part};

use crate::{hist::Histogram, ledger::Ledger, report::model};

const MAX_PARTS: usize = 64;
const QUANTILE: f64 = 0.99;

#[derive(Default)]
pub(super) struct Shares {
    /// Few, so a list. The part without its numbers is the key.
    parts: Vec<(Part, Histogram)>,
    runnable: Histogram,
    other: Histogram,
    /// Statements that were off the CPU: their latency, and their time on it.
    left: Histogram,
    left_cpu: Histogram,
}

impl Shares {
    /// A statement that never slept.
    #[inline]
    pub fn short(&mut self, wall_ns: u64, runnable_ns: u64) {
        if runnable_ns != 0 {
            self.runnable.record(runnable_ns);
            self.left.record(wall_ns);
            self.left_cpu.record(wall_ns.saturating_sub(runnable_ns));
        }
    }

    pub fn slept(&mut self, wall_ns: u64, ledger: &KernelLedger) {
        let mut off = ledger.runnable_ns + ledger.other_ns;
        for part in ledger.parts.iter().take_while(|part| part.count != 0) {
            off += part.ns;
            let key = Part { count: 0, ns: 0, ..*part };
            let known = self.parts.iter().position(|(known, _)| *known == key);
            let at = known.unwrap_or_else(|| {
                if self.parts.len() < MAX_PARTS {
                    self.parts.push((key, Histogram::new()));
                }
                self.parts.len() - 1
            });
            if self.parts[at].0 == key {
                self.parts[at].1.record(part.ns);
            }
        }
        if ledger.runnable_ns != 0 {
            self.runnable.record(ledger.runnable_ns);
        }
        if ledger.other_ns != 0 {
            self.other.record(ledger.other_ns);
        }
        self.left.record(wall_ns);
        self.left_cpu.record(wall_ns.saturating_sub(off));
    }

    /// Enters the quantiles into the ledger of all statements, whose latencies are `all`.
    pub fn enter(&self, ledger: &mut model::Ledger, all: &Histogram, major: u32) {
        let n = all.count();
        let mut set = |state: &str, of: Option<&model::LedgerPart>, p99: u64| {
            let same = |part: &&mut model::LedgerPart| {
                part.state == state
                    && of.is_none_or(|of| {
                        part.wait_event_type == of.wait_event_type
                            && part.wait_event == of.wait_event
                            && part.cause == of.cause
                    })
            };
            ledger.parts.iter_mut().filter(same).for_each(|part| part.p99_ns = part.p99_ns.max(Some(p99)));
        };
        for (part, histogram) in &self.parts {
            if let Some(named) = named(part, major) {
                set(&named.state, Some(&named), histogram.quantile_of(QUANTILE, n));
            }
        }
        set("runnable", None, self.runnable.quantile_of(QUANTILE, n));
        set("unattributed", None, self.other.quantile_of(QUANTILE, n));
        let mut cpu = all.clone();
        cpu.replace(&self.left, &self.left_cpu);
        set("cpu", None, cpu.quantile_of(QUANTILE, n));
    }
}

/// A part as the report names it.
fn named(part: &Part, major: u32) -> Option<model::LedgerPart> {
    let mut one = KernelLedger::default();
    one.parts[0] = Part { count: 1, ns: 1, ..*part };
    let mut ledger = Ledger::default();
    ledger.add(1, &one);
    ledger.model(major).parts.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: u32 = 0x0300_0000;
    const CLIENT: u32 = 0x0600_0000;

    fn slept(event: u32, ns: u64, runnable_ns: u64) -> KernelLedger {
        let mut ledger = KernelLedger { runnable_ns, ..Default::default() };
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
                    shares.short(wall, run);
                    sum.add_short(wall, run, 1);
                }
                [ns, other] => {
                    let ledger = if ns != 0 { slept(LOCK, ns, run) } else { slept(CLIENT, other, run) };
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
        let check = |state: &str, class: Option<&str>, mut values: Vec<u64>| {
            let part = ledger.parts.iter().find(|p| p.state == state && p.wait_event_type.as_deref() == class).unwrap();
            values.sort_unstable();
            let (got, expected) = (part.p99_ns.unwrap(), values[9_899]);
            assert!(got >= expected && got - expected <= expected / 100, "{state} {class:?}: {got}, not {expected}");
        };
        check("cpu", None, cpu);
        check("runnable", None, runnable);
        check("blocked", Some("Lock"), lock);
        check("blocked", Some("Client"), client);
    }

    #[test]
    fn more_parts_than_are_kept_have_no_quantile() {
        let (mut shares, mut all, mut sum) = (Shares::default(), Histogram::new(), Ledger::default());
        for event in 0..MAX_PARTS as u32 + 5 {
            let ledger = slept(LOCK + event, 10, 0);
            all.record(20);
            shares.slept(20, &ledger);
            sum.add(20, &ledger);
        }
        assert_eq!(shares.parts.len(), MAX_PARTS);
        shares.enter(&mut sum.model(15), &all, 15);
    }
}
