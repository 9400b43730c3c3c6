//! Rows of the kernel side added up.

use pgstrobe_common::block::{BlockHist, BlockRow, Delays, HIST_BUCKETS, bounds};

use crate::{
    hist::Histogram,
    report::model::{BlockRequests, Hist},
};

/// Durations with their exact count, sum and maximum.
#[derive(Clone, Debug)]
pub struct Times {
    pub count: u64,
    pub ns: u64,
    max_ns: u64,
    buckets: [u64; HIST_BUCKETS],
}

impl Default for Times {
    fn default() -> Self {
        Self { count: 0, ns: 0, max_ns: 0, buckets: [0; HIST_BUCKETS] }
    }
}

impl Times {
    /// What came to a row since an earlier look at it.
    fn of(now: (u64, u64, u64, &BlockHist), before: Option<(u64, u64, &BlockHist)>) -> Self {
        let (count, ns, max_ns, hist) = now;
        let mut this = Self { count, ns, max_ns, ..Self::default() };
        let half = |hist: &BlockHist, bucket: usize| (hist[bucket / 2] >> (bucket % 2 * 32)) & 0xffff_ffff;
        for (bucket, n) in this.buckets.iter_mut().enumerate() {
            *n = half(hist, bucket);
        }
        if let Some((count, ns, hist)) = before {
            this.count -= count.min(this.count);
            this.ns -= ns.min(this.ns);
            for (bucket, n) in this.buckets.iter_mut().enumerate() {
                *n = n.saturating_sub(half(hist, bucket));
            }
            // The maximum may be of an earlier time.
            let highest = this.buckets.iter().rposition(|n| *n > 0);
            this.max_ns = highest.map_or(0, |bucket| bounds(bucket).1.min(this.max_ns));
        }
        this
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.ns += other.ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        for (to, n) in self.buckets.iter_mut().zip(&other.buckets) {
            *to += n;
        }
    }

    /// Values are spread evenly within their bucket, an eighth of its value wide: percentiles are within 6 % of the true
    /// ones at worst. Count, mean and maximum are exact.
    pub fn summary(&self) -> Hist {
        let mut hist = Histogram::new();
        for (bucket, &n) in self.buckets.iter().enumerate().filter(|(_, n)| **n > 0) {
            let (low, end) = bounds(bucket);
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

/// Requests of one row, or of several.
#[derive(Clone, Debug, Default)]
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
    /// What came to a row since an earlier look at it, its delays those of its own server.
    pub fn of(now: &BlockRow, before: Option<&BlockRow>) -> Self {
        let comm = now.comm.split(|byte| *byte == 0).next().unwrap_or_default();
        let since = |field: fn(&BlockRow) -> u64| field(now) - before.map_or(0, field).min(field(now));
        Self {
            comm: String::from_utf8_lossy(comm).into_owned(),
            requests: since(|row| row.requests),
            bytes: since(|row| row.bytes),
            merged: since(|row| row.merged),
            requeued: since(|row| row.requeued),
            failed: since(|row| row.failed),
            queue: Times::of(
                (now.queued, now.queue_ns, now.queue_max_ns, &now.queue),
                before.map(|row| (row.queued, row.queue_ns, &row.queue)),
            ),
            device: Times::of(
                (now.issued, now.device_ns, now.device_max_ns, &now.device),
                before.map(|row| (row.issued, row.device_ns, &row.device)),
            ),
            delay: delays(&now.own, before.map(|row| &row.own)),
        }
    }

    /// What came to the delays of others.
    pub fn of_delays(now: &Delays, before: Option<&Delays>) -> Self {
        Self { delay: delays(now, before), ..Self::default() }
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

fn delays(now: &Delays, before: Option<&Delays>) -> Times {
    Times::of((now.count, now.ns, now.max_ns, &now.hist), before.map(|before| (before.count, before.ns, &before.hist)))
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
        let hist = Sum::of(&row(&values), None).device.summary();
        assert_eq!((hist.count, hist.max), (10_000, 7_000_000));
        assert!((hist.mean - 3_500_350.0).abs() < 1.0, "{}", hist.mean);
        for (seen, expected) in [(hist.p50, 3_500_000.0), (hist.p90, 6_300_000.0), (hist.p99, 6_930_000.0)] {
            assert!((seen as f64 / expected - 1.0).abs() < 0.02, "{seen} {expected}");
        }
    }

    #[test]
    fn an_interval_holds_what_came_since() {
        let (before, now) = (row(&[9_000_000]), row(&[9_000_000, 5_000, 6_000]));
        let sum = Sum::of(&now, Some(&before));
        assert_eq!((sum.requests, sum.device.count, sum.device.ns), (2, 2, 11_000));
        let hist = sum.device.summary();
        assert!((6_000..7_000).contains(&hist.max), "{hist:?}");
        assert!(Sum::of(&now, Some(&now)).is_empty());
    }
}
