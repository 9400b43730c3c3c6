//! Latency histograms: one for every backend, statement class and role, so they must be small while nearly empty and
//! bounded when full.
//!
//! The buckets are exactly those of an HDR histogram with 2 significant digits (128 a power of two, each at most 0.8 %
//! wide), so that a histogram becomes an `hdrhistogram` without loss when it is summarised or written. Only the storage
//! differs: `hdrhistogram` keeps one flat array from zero to the largest value (36 KiB at one hour with `u64`), which
//! 15,000 times over is more than half a gigabyte. Here a power of two costs 256 bytes once a value falls into it, and
//! counters are 16 bits wide; what overflows them is carried into a list that grows by one entry a bucket.

mod kept;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use crate::{report::model::Hist, time::Merge};

/// The largest value kept apart, in nanoseconds: one hour. Larger ones are counted in its bucket and in
/// [`Histogram::saturated`]; [`Histogram::max`] stays exact.
pub const TOP_NS: u64 = 3_600_000_000_000;

/// Significant decimal digits of a bucket.
pub const DIGITS: u8 = 2;

/// Buckets a power of two.
const SUB: usize = 128;
/// Powers of two from zero to [`TOP_NS`]: two linear ones up to 255 ns, then one each.
const CHUNKS: usize = 36;

/// The most bytes one histogram takes, counts of 65,536 and more in a bucket aside: those add 16 bytes for each bucket
/// that reaches them, hence at most 16 bytes for each 65,536 values ever recorded.
pub const WORST_BYTES: usize = size_of::<Histogram>() + CHUNKS * SUB * size_of::<u16>();

/// Counts of durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Where the counters of a power of two start in `counts`, as slot + 1; 0 while it has none.
    slots: [u8; CHUNKS],
    /// Low 16 bits of the counters, [`SUB`] a slot, in the order in which the slots were first needed.
    counts: Vec<u16>,
    /// What exceeds 16 bits, in units of 65,536: (bucket, units), sorted by bucket.
    carries: Vec<(u16, u64)>,
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
    saturated: u64,
}

/// Why a written histogram could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistError {
    #[error("a histogram is not valid base64: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error("a histogram is not in HDR V2 format: {0}")]
    Format(String),
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram; it allocates nothing.
    pub const fn new() -> Self {
        Histogram {
            slots: [0; CHUNKS],
            counts: Vec::new(),
            carries: Vec::new(),
            count: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
            saturated: 0,
        }
    }

    /// Counts one duration in nanoseconds.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        let bucket = index(ns.min(TOP_NS));
        let slot = self.slots[bucket / SUB] as usize;
        // By far the most: the counter is there, and not about to overflow.
        if let Some(counter) = self.counts.get_mut(slot.wrapping_sub(1).wrapping_mul(SUB).wrapping_add(bucket % SUB))
            && *counter != u16::MAX
            && ns <= TOP_NS
        {
            *counter += 1;
            self.count += 1;
            self.sum = self.sum.saturating_add(ns);
            self.min = self.min.min(ns);
            self.max = self.max.max(ns);
            return;
        }
        self.record_n(ns, 1);
    }

    /// Counts the same duration `n` times.
    pub fn record_n(&mut self, ns: u64, n: u64) {
        if n == 0 {
            return;
        }
        self.count = self.count.saturating_add(n);
        self.sum = self.sum.saturating_add(ns.saturating_mul(n));
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
        if ns > TOP_NS {
            self.saturated = self.saturated.saturating_add(n);
        }
        self.add_at(index(ns.min(TOP_NS)), n);
    }

    #[inline]
    fn add_at(&mut self, bucket: usize, n: u64) {
        let slot = match self.slots[bucket / SUB] {
            0 => self.new_slot(bucket / SUB),
            slot => slot as usize - 1,
        };
        let counter = &mut self.counts[slot * SUB + bucket % SUB];
        let (low, overflowed) = (*counter as u64).overflowing_add(n);
        *counter = low as u16;
        let high = (low >> 16) + ((overflowed as u64) << 48);
        if high != 0 {
            self.carry(bucket as u16, high);
        }
    }

    #[cold]
    fn new_slot(&mut self, chunk: usize) -> usize {
        let slot = self.counts.len() / SUB;
        self.counts.reserve_exact(SUB);
        self.counts.resize((slot + 1) * SUB, 0);
        self.slots[chunk] = slot as u8 + 1;
        slot
    }

    #[cold]
    fn carry(&mut self, bucket: u16, units: u64) {
        match self.carries.binary_search_by_key(&bucket, |&(b, _)| b) {
            Ok(at) => self.carries[at].1 += units,
            Err(at) => {
                self.carries.reserve_exact(1);
                self.carries.insert(at, (bucket, units));
            }
        }
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, n) in other.filled() {
            self.add_at(bucket, n);
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.saturated = self.saturated.saturating_add(other.saturated);
    }

    /// Takes away what `out` counted, all of which must have been counted here, and adds what `with` did. Minimum and
    /// maximum are then no longer exact, but bounds.
    pub fn replace(&mut self, out: &Histogram, with: &Histogram) {
        let mut kept = Histogram { min: self.min, max: self.max, sum: self.sum.saturating_sub(out.sum), ..Self::new() };
        kept.saturated = self.saturated.saturating_sub(out.saturated);
        let mut gone = out.filled().peekable();
        for (bucket, n) in self.filled() {
            while gone.next_if(|&(before, _)| before < bucket).is_some() {}
            let left = n.saturating_sub(gone.next_if(|&(same, _)| same == bucket).map_or(0, |(_, n)| n));
            kept.count += left;
            kept.add_at(bucket, left);
        }
        kept.merge(with);
        *self = kept;
    }

    /// The value that a share of `of` values does not exceed, of which all that were not counted here are 0.
    pub fn quantile_of(&self, quantile: f64, of: u64) -> u64 {
        let rank = ((quantile * of as f64).ceil() as u64).clamp(1, of.max(1));
        let mut seen = of.saturating_sub(self.count);
        if seen >= rank {
            return 0;
        }
        let reached = self.filled().find(|&(_, n)| {
            seen += n;
            seen >= rank
        });
        reached.map_or(self.max, |(bucket, _)| highest(bucket).min(self.max))
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The exact sum in nanoseconds, saturating at `u64::MAX`.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The exact smallest value in nanoseconds; 0 when empty.
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// The exact largest value in nanoseconds, also above [`TOP_NS`].
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The exact mean in nanoseconds; 0 when empty.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// Values above [`TOP_NS`].
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// Bytes this histogram takes, on the heap and itself.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.counts.capacity() * size_of::<u16>()
            + self.carries.capacity() * size_of::<(u16, u64)>()
    }

    /// The buckets that are not empty, smallest first: (lowest value, highest value, count), values in nanoseconds.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.filled().map(|(bucket, n)| (lowest(bucket), highest(bucket), n))
    }

    fn filled(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let mut carries = self.carries.iter().peekable();
        self.slots
            .iter()
            .enumerate()
            .filter(|&(_, &slot)| slot != 0)
            .flat_map(|(chunk, &slot)| {
                let from = (slot as usize - 1) * SUB;
                self.counts[from..from + SUB].iter().enumerate().map(move |(i, &n)| (chunk * SUB + i, n as u64))
            })
            .filter_map(move |(bucket, low)| {
                let high = carries.next_if(|&&(b, _)| b as usize == bucket).map_or(0, |&(_, units)| units << 16);
                (low + high != 0).then_some((bucket, low + high))
            })
    }

    /// The same counts as an `hdrhistogram`.
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        let mut hdr = hdrhistogram::Histogram::new_with_bounds(1, TOP_NS, DIGITS).expect("constant bounds are valid");
        for (bucket, n) in self.filled() {
            hdr.saturating_record_n(lowest(bucket), n);
        }
        hdr
    }

    /// The summary of the report, with the whole histogram in `hdr`. Percentiles are the upper edge of their bucket,
    /// within 0.8 % of the true value; `count`, `min` and `max` are exact.
    pub fn summary(&self) -> Hist {
        if self.count == 0 {
            return Hist::default();
        }
        let hdr = self.to_hdr();
        // A value above the top lies in the top's bucket: the best that is known of it is that it is at most the
        // maximum.
        let at = |quantile: f64| hdr.value_at_quantile(quantile).clamp(self.min, self.max);
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&hdr, &mut bytes).expect("writing to memory cannot fail");
        Hist {
            count: self.count,
            min: self.min,
            max: self.max,
            // To a thousandth of a nanosecond: such a number survives being written in decimals and read again.
            mean: (self.mean() * 1e3).round() / 1e3,
            p50: at(0.50),
            p90: at(0.90),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            saturated: self.saturated,
            hdr: BASE64.encode(bytes),
        }
    }

    /// Reads the `hdr` of a report. `min`, `max` and the mean are then those of the buckets; [`Histogram::from_hist`]
    /// keeps the exact ones.
    ///
    /// # Errors
    /// When the text is not base64 of an HDR V2 histogram, compressed or not. The empty text is the empty histogram.
    pub fn from_hdr(text: &str) -> Result<Histogram, HistError> {
        let mut out = Histogram::new();
        if text.is_empty() {
            return Ok(out);
        }
        let bytes = BASE64.decode(text)?;
        let hdr: hdrhistogram::Histogram<u64> = Deserializer::new()
            .deserialize(&mut std::io::Cursor::new(bytes))
            .map_err(|error| HistError::Format(error.to_string()))?;
        for step in hdr.iter_recorded() {
            out.record_n(hdr.median_equivalent(step.value_iterated_to()), step.count_since_last_iteration());
        }
        Ok(out)
    }

    /// Reads a report's histogram with its exact minimum, maximum and mean.
    ///
    /// # Errors
    /// As [`Histogram::from_hdr`].
    pub fn from_hist(hist: &Hist) -> Result<Histogram, HistError> {
        let mut out = Self::from_hdr(&hist.hdr)?;
        if out.count != hist.count {
            return Err(HistError::Format(format!("it holds {} values where {} are stated", out.count, hist.count)));
        }
        if hist.min > hist.max || hist.saturated > hist.count {
            let stated = format!("{} to {} ns, {} of {} beyond", hist.min, hist.max, hist.saturated, hist.count);
            return Err(HistError::Format(format!("its bounds contradict each other: {stated}")));
        }
        if out.count > 0 {
            out.min = hist.min;
            out.max = hist.max;
            out.sum = (hist.mean * hist.count as f64).round() as u64;
            out.saturated = hist.saturated;
        }
        Ok(out)
    }
}

impl Merge for Histogram {
    fn merge(&mut self, later: Self) {
        Histogram::merge(self, &later);
    }
}

#[inline]
fn index(value: u64) -> usize {
    if value < 2 * SUB as u64 {
        return value as usize;
    }
    let shift = 56 - value.leading_zeros() as usize;
    (shift << 7) + (value >> shift) as usize
}

fn lowest(bucket: usize) -> u64 {
    if bucket < 2 * SUB {
        return bucket as u64;
    }
    ((bucket % SUB + SUB) as u64) << (bucket / SUB - 1)
}

fn highest(bucket: usize) -> u64 {
    if bucket < 2 * SUB { bucket as u64 } else { lowest(bucket) + (1 << (bucket / SUB - 1)) - 1 }
}

#[cfg(test)]
mod tests;
