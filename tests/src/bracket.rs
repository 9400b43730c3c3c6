//! Durations that are longer than one thing measured elsewhere and shorter than another, by construction.
//!
//! Two clocks read at different moments differ by whatever the machine does between the moments: a wait for a CPU, a
//! hypervisor that takes it away, an interrupt. No tolerance covers that on every machine. What holds on every machine is an order
//! of events, and who is longer than whom then holds for each duration, for their sum, and for each rank of the sorted
//! ones (if each of n values is at most its counterpart, so is the k-th smallest).

use pgstrobe::report::model::Hist;

use crate::load::Latencies;

/// Moments are compared that are rounded to microseconds, and read from two forms of the kernel's clock, of which the one
/// that is safe in an interrupt may be behind for as long as the other is adjusted (kernel/time/timekeeping.c).
const CLOCK_NS: u64 = 2_000;

pub struct Bracket {
    inside: Latencies,
    outside: Latencies,
}

impl Bracket {
    /// For each duration what it must hold, and what holds it.
    #[track_caller]
    pub fn of(pairs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let (inside, outside): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
        let wrong = inside.iter().zip(&outside).find(|(inside, outside)| *inside > &(**outside + CLOCK_NS));
        assert!(!inside.is_empty() && wrong.is_none(), "the witnesses contradict each other: {wrong:?}");
        Self { inside: Latencies::of(inside), outside: Latencies::of(outside) }
    }

    /// Whether these durations are between: the least, the largest, the mean, and the percentiles that a histogram says.
    #[track_caller]
    pub fn assert_holds(&self, what: &str, seen: &Hist) {
        let count = self.inside.len() as u64;
        assert_eq!(seen.count, count, "{what}");
        let rank = |at: f64| (self.inside.quantile(at), self.outside.quantile(at));
        // A percentile is the upper end of its bucket, which is at most 1/128 wide (2 significant digits, HDR).
        let bucket = |ns: u64| ns / 127;
        let mean = (self.inside.sum() / count, self.outside.sum() / count);
        let mut off = Vec::new();
        for (name, seen, (least, most), room) in [
            ("least", seen.min, rank(0.0), 0),
            ("p50", seen.p50, rank(0.5), bucket(seen.p50)),
            ("p90", seen.p90, rank(0.9), bucket(seen.p90)),
            ("p99", seen.p99, rank(0.99), bucket(seen.p99)),
            ("largest", seen.max, rank(1.0), 0),
            ("mean", seen.mean as u64, mean, 0),
        ] {
            let line = format!("{what}: {name} {seen} ns, between {least} and {most} ns (+ {room})");
            println!("{line}");
            if seen + CLOCK_NS < least || seen > most + room + CLOCK_NS {
                off.push(line);
            }
        }
        assert!(off.is_empty(), "{off:#?}");
    }

    /// How well the least duration is known decides which fault of all durations is seen for certain: some percent on a machine
    /// that does nothing else, and never more than the duration itself. Among many some are disturbed little.
    #[track_caller]
    pub fn assert_sharp(&self, what: &str) {
        let (least, most) = (self.inside.quantile(0.0), self.outside.quantile(0.0));
        println!("{what}: the least is between {least} and {most} ns");
        assert!(most - least <= least, "{what}: no duration was measured well: {least} to {most} ns");
    }
}
