//! Accuracy, round trips and the memory bound.

use super::*;

/// A small generator, so that the tests need no crate for it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }

    fn lognormal(&mut self, median: f64, sigma: f64) -> u64 {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        (median * (sigma * normal).exp()) as u64
    }
}

#[test]
fn buckets_are_those_of_hdrhistogram() {
    let hdr = hdrhistogram::Histogram::<u64>::new_with_bounds(1, TOP_NS, DIGITS).unwrap();
    let mut random = Random(7);
    let edges = (0..42).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
    for value in edges.chain((0..20_000).map(|_| random.next() >> (random.0 % 40 + 22))).filter(|&v| v <= TOP_NS) {
        assert_eq!(lowest(index(value)), hdr.lowest_equivalent(value), "{value}");
        assert_eq!(highest(index(value)), hdr.highest_equivalent(value), "{value}");
    }
    assert!(index(TOP_NS) < CHUNKS * SUB);
}

#[test]
fn percentiles_are_within_one_percent() {
    let mut random = Random(42);
    let mut values: Vec<u64> = (0..50_000).map(|_| random.lognormal(300_000.0, 1.3)).collect();
    let mut hist = Histogram::new();
    values.iter().for_each(|&v| hist.record(v));
    values.sort_unstable();
    let sum = hist.summary();
    for (q, got) in [(0.5, sum.p50), (0.9, sum.p90), (0.95, sum.p95), (0.99, sum.p99), (0.999, sum.p999)] {
        let exact = values[(values.len() as f64 * q).ceil() as usize - 1] as f64;
        assert!((got as f64 - exact).abs() / exact < 0.01, "{q}: {got} for {exact}");
    }
    assert_eq!((sum.min, sum.max, sum.count), (values[0], values[49_999], 50_000));
    let mean = values.iter().sum::<u64>() as f64 / 50_000.0;
    assert!((sum.mean - mean).abs() < 1e-3);
}

#[test]
fn counters_carry_beyond_16_bits() {
    let mut hist = Histogram::new();
    for _ in 0..70_000 {
        hist.record(1_000);
    }
    hist.record_n(1_000, 5_000_000_000);
    hist.record_n(2_000, 65_536);
    assert_eq!(hist.buckets().map(|b| b.2).collect::<Vec<_>>(), [5_000_070_000, 65_536]);
    let mut twice = hist.clone();
    twice.merge(&hist);
    assert_eq!(twice.buckets().map(|b| b.2).collect::<Vec<_>>(), [10_000_140_000, 131_072]);
    assert_eq!(twice.count(), 2 * hist.count());
}

#[test]
fn above_the_top_is_counted() {
    let mut hist = Histogram::new();
    hist.record(TOP_NS);
    hist.record(2 * TOP_NS);
    hist.record(u64::MAX);
    let sum = hist.summary();
    assert_eq!((hist.saturated(), sum.saturated, sum.count, sum.max), (2, 2, 3, u64::MAX));
    assert!(sum.p50 >= TOP_NS);
}

#[test]
fn zero_and_empty() {
    let empty = Histogram::new().summary();
    assert_eq!(empty, Hist::default());
    assert!(Histogram::from_hist(&empty).unwrap().is_empty());
    let mut hist = Histogram::new();
    hist.record(0);
    assert_eq!((hist.summary().count, hist.summary().p99, hist.min()), (1, 0, 0));
}

#[test]
fn reads_back_what_it_wrote() {
    let mut random = Random(3);
    let mut hist = Histogram::new();
    (0..5_000).for_each(|_| hist.record(random.lognormal(50_000.0, 2.0)));
    let sum = hist.summary();
    let back = Histogram::from_hist(&sum).unwrap();
    assert_eq!(hist.buckets().collect::<Vec<_>>(), back.buckets().collect::<Vec<_>>());
    let again = back.summary();
    assert_eq!((sum.p50, sum.p999, sum.max, &sum.hdr), (again.p50, again.p999, again.max, &again.hdr));
    assert!(Histogram::from_hdr("not base64!").is_err());
    assert!(Histogram::from_hdr("AAAA").is_err());
}

#[test]
fn merging_is_recording_both() {
    let mut random = Random(9);
    let (mut a, mut b, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
    for i in 0..10_000 {
        let value = random.lognormal(1e6, 1.5);
        if i % 3 == 0 {
            a.record(value)
        } else {
            b.record(value)
        }
        both.record(value);
    }
    a.merge(&b);
    a.merge(&Histogram::new());
    assert_eq!(a.summary(), both.summary());
}

#[test]
fn ten_thousand_backends_and_five_thousand_classes_fit() {
    const BOUND: usize = 256 << 20;
    const MANY: usize = 10_000 + 5_000;
    // Even if every one of them had seen everything from a nanosecond to an hour.
    const { assert!(WORST_BYTES * MANY < BOUND) };
    let mut random = Random(11);
    let values: Vec<u64> = (0..20_000).map(|_| random.lognormal(500_000.0, 1.5)).collect();
    let all: Vec<Histogram> = (0..MANY)
        .map(|i| {
            let mut hist = Histogram::new();
            (0..300).for_each(|k| hist.record(values[(i * 7 + k * 61) % values.len()]));
            hist
        })
        .collect();
    let bytes: usize = all.iter().map(Histogram::bytes).sum();
    assert!(bytes < BOUND / 3, "{} MiB", bytes >> 20);
    let mut one = Histogram::new();
    one.record(1_000_000);
    assert!(one.bytes() < 512, "{}", one.bytes());
}

#[test]
fn a_quantile_counts_what_was_not_recorded_as_zero() {
    let mut some = Histogram::new();
    (1..=100).for_each(|value| some.record(value));
    assert_eq!(some.quantile_of(0.99, 100), 99);
    assert_eq!(some.quantile_of(0.99, 1_000), 90);
    assert_eq!(some.quantile_of(0.99, 10_000), 0);
    assert_eq!(some.quantile_of(0.99, 9_999), 1, "the first that is not 0");
    assert_eq!(Histogram::new().quantile_of(0.99, 0), 0);
}

#[test]
fn values_are_replaced_bucket_by_bucket() {
    let (mut all, mut out, mut with, mut expected) = Default::default();
    let both = |one: &mut Histogram, two: &mut Histogram, value: u64, n: u64| {
        one.record_n(value, n);
        two.record_n(value, n);
    };
    let mut random = Random(5);
    for _ in 0..1_000 {
        both(&mut all, &mut expected, random.lognormal(50_000.0, 2.0), 1);
        both(&mut all, &mut out, random.lognormal(80_000.0, 2.0), 1);
        both(&mut with, &mut expected, random.lognormal(10_000.0, 1.0), 1);
    }
    // Counts beyond 16 bits.
    both(&mut all, &mut out, 3_000, 200_000);
    both(&mut all, &mut expected, 3_000, 70_000);
    all.replace(&out, &with);
    assert_eq!(all.filled().collect::<Vec<_>>(), expected.filled().collect::<Vec<_>>());
    assert_eq!((all.count(), all.sum()), (expected.count(), expected.sum()));
}

/// A report may be read from a file: what contradicts itself is refused, not drawn.
#[test]
fn bounds_that_contradict_each_other_are_refused() {
    let mut hist = Histogram::new();
    (1..100).for_each(|ns| hist.record(ns));
    let good = hist.summary();
    assert!(Histogram::from_hist(&good).is_ok());
    for bad in [Hist { min: good.max + 1, ..good.clone() }, Hist { saturated: good.count + 1, ..good.clone() }] {
        let error = Histogram::from_hist(&bad).unwrap_err().to_string();
        assert!(error.contains("contradict"), "{error}");
    }
}
