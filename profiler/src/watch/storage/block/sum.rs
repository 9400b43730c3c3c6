//! Rows of the kernel side added up.

use std::collections::BTreeMap;

use pgstrobe_common::block::{BlockHist, BlockRow, Delays, HIST_BUCKETS, bounds};
use serde::{Deserialize, Serialize};

use crate::{
    hist::Histogram,
    report::model::{BlockRequests, Hist},
    time::{Gain, Merge},
};

/// Durations with their exact count, sum and maximum, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    pub count: u64,
    pub ns: u64,
    max_ns: u64,
    /// Those that are not empty.
    buckets: BTreeMap<u16, u64>,
}

impl Times {
    fn of(count: u64, ns: u64, max_ns: u64, hist: &BlockHist) -> Self {
        let half = |bucket: usize| (hist[bucket / 2] >> (bucket % 2 * 32)) & 0xffff_ffff;
        let buckets = (0..HIST_BUCKETS).map(|bucket| (bucket as u16, half(bucket)));
        Self { count, ns, max_ns, buckets: buckets.filter(|(_, n)| *n > 0).collect() }
    }

    pub fn of_delays(delays: &Delays) -> Self {
        Self::of(delays.count, delays.ns, delays.max_ns, &delays.hist)
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.ns += other.ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        for (bucket, n) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += n;
        }
    }

    /// Values are spread evenly within their bucket, an eighth of its value wide: percentiles are within 6 % of the true
    /// ones at worst. Count, mean and maximum are exact.
    pub fn summary(&self) -> Hist {
        let mut hist = Histogram::new();
        for (bucket, &n) in &self.buckets {
            let (low, end) = bounds(usize::from(*bucket));
            let points = n.min(16);
            for point in 0..points {
                let value = low + (end - low) * (2 * point + 1) / (2 * points);
                hist.record_n(value.min(self.max_ns), n / points + u64::from(point < n % points));
            }
        }
        let mut summary = hist.summary();
        if self.count > 0 {
            summary.mean = (self.ns as f64 / self.count as f64 * 1e3).round() / 1e3;
            summary.max = self.max_ns;
        }
        summary
    }
}

impl Gain for Times {
    fn since(&self, before: &Self) -> Self {
        if before.count == 0 {
            return self.clone();
        }
        let gained = self.buckets.iter().map(|(bucket, n)| {
            let before = before.buckets.get(bucket).copied().unwrap_or(0);
            (*bucket, n.since(&before))
        });
        let buckets: BTreeMap<u16, u64> = gained.filter(|(_, n)| *n > 0).collect();
        // The maximum may be of an earlier time.
        let highest = buckets.last_key_value();
        let max_ns = highest.map_or(0, |(bucket, _)| bounds(usize::from(*bucket)).1.min(self.max_ns));
        Self { count: self.count.since(&before.count), ns: self.ns.since(&before.ns), max_ns, buckets }
    }
}

/// Requests of one row, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub comm: String,
    pub requests: u64,
    pub bytes: u64,
    pub merged: u64,
    pub requeued: u64,
    pub failed: u64,
    pub queue: Times,
    pub device: Times,
    pub delay: Times,
}

impl Sum {
    /// All that came to a row so far, its delays those of its own server.
    pub fn of(row: &BlockRow) -> Self {
        let comm = row.comm.split(|byte| *byte == 0).next().unwrap_or_default();
        Self {
            comm: String::from_utf8_lossy(comm).into_owned(),
            requests: row.requests,
            bytes: row.bytes,
            merged: row.merged,
            requeued: row.requeued,
            failed: row.failed,
            queue: Times::of(row.queued, row.queue_ns, row.queue_max_ns, &row.queue),
            device: Times::of(row.issued, row.device_ns, row.device_max_ns, &row.device),
            delay: Times::of_delays(&row.own),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.requests == 0 && self.bytes == 0 && self.merged == 0 && self.requeued == 0
    }

    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.merged += other.merged;
        self.requeued += other.requeued;
        self.failed += other.failed;
        self.queue.add(&other.queue);
        self.device.add(&other.device);
        self.delay.add(&other.delay);
    }

    pub fn model(&self) -> BlockRequests {
        BlockRequests {
            requests: self.requests,
            bytes: self.bytes,
            merged: self.merged,
            requeued: self.requeued,
            failed: self.failed,
            queue_time: self.queue.summary(),
            device_time: self.device.summary(),
        }
    }
}

impl Gain for Sum {
    fn since(&self, before: &Self) -> Self {
        Self {
            comm: self.comm.clone(),
            requests: self.requests.since(&before.requests),
            bytes: self.bytes.since(&before.bytes),
            merged: self.merged.since(&before.merged),
            requeued: self.requeued.since(&before.requeued),
            failed: self.failed.since(&before.failed),
            queue: self.queue.since(&before.queue),
            device: self.device.since(&before.device),
            delay: self.delay.since(&before.delay),
        }
    }
}

impl Merge for Sum {
    fn merge(&mut self, later: Self) {
        self.add(&later);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgstrobe_common::block::bucket;

    fn row(values: &[u64]) -> BlockRow {
        let mut row = BlockRow { requests: values.len() as u64, ..BlockRow::EMPTY };
        for &ns in values {
            row.issued += 1;
            row.device_ns += ns;
            row.device_max_ns = row.device_max_ns.max(ns);
            let bucket = bucket(ns);
            row.device[bucket as usize / 2] += 1 << (bucket % 2 * 32);
        }
        row
    }

    #[test]
    fn percentiles_are_near_and_the_mean_is_exact() {
        let values: Vec<u64> = (1..=10_000).map(|i| i * 700).collect();
        let hist = Sum::of(&row(&values)).device.summary();
        assert_eq!((hist.count, hist.max), (10_000, 7_000_000));
        assert!((hist.mean - 3_500_350.0).abs() < 1.0, "{}", hist.mean);
        for (seen, expected) in [(hist.p50, 3_500_000.0), (hist.p90, 6_300_000.0), (hist.p99, 6_930_000.0)] {
            assert!((seen as f64 / expected - 1.0).abs() < 0.02, "{seen} {expected}");
        }
    }

    #[test]
    fn an_interval_holds_what_came_since() {
        let (before, now) = (row(&[9_000_000]), row(&[9_000_000, 5_000, 6_000]));
        let (before, now) = (Sum::of(&before), Sum::of(&now));
        let sum = now.since(&before);
        assert_eq!((sum.requests, sum.device.count, sum.device.ns), (2, 2, 11_000));
        let hist = sum.device.summary();
        assert!((6_000..7_000).contains(&hist.max), "{hist:?}");
        assert!(now.since(&now).is_empty());
    }
}
