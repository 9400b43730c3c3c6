//! What makes the slowest statements slow: the ledgers of all statements, by latency, so that at report time those of the
//! slowest 1 % can be told from the rest.
//!
//! Which latency that is, is known only at the end. So the ledgers are summed in 64 buckets a power of two: the boundary
//! is the lower edge of one, and each is at most 1.6 % wide. Bounded: 2,345 buckets of about 100 bytes, and in each a few
//! words for every kind of wait that its statements met.

use pgstrobe_common::ledger::Ledger as KernelLedger;
use serde::{Deserialize, Serialize};

use crate::{
    hist::TOP_NS,
    ledger::{Ledger, Short},
    report::model,
    time::Merge,
};

/// One in so many statements belongs to the tail.
const ONE_IN: u64 = 100;

/// Buckets a power of two.
const SUB: usize = 64;
/// The last one is that of [`TOP_NS`] and of all beyond.
const BUCKETS: usize = index(TOP_NS) + 1;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tail {
    /// Where a bucket is in `filled`, plus 1, or 0: made with the first statement.
    #[serde(skip)]
    places: Vec<u16>,
    /// Those with statements, by their number, in the order in which they came.
    filled: Vec<(u16, Bucket)>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Bucket {
    count: u64,
    ledger: Ledger,
}

impl Bucket {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.ledger.merge(&other.ledger);
    }
}

impl Merge for Tail {
    fn merge(&mut self, later: Self) {
        for (number, bucket) in &later.filled {
            self.at(usize::from(*number).min(BUCKETS - 1)).add(bucket);
        }
    }
}

impl Tail {
    /// A statement that never slept.
    #[inline]
    pub fn short(&mut self, short: &Short) {
        let bucket = self.bucket(short.wall_ns);
        bucket.count += 1;
        bucket.ledger.add_short(short);
    }

    pub fn slept(&mut self, wall_ns: u64, ledger: &KernelLedger) {
        let bucket = self.bucket(wall_ns);
        bucket.count += 1;
        bucket.ledger.add(wall_ns, ledger);
    }

    #[inline]
    fn bucket(&mut self, wall_ns: u64) -> &mut Bucket {
        self.at(index(wall_ns.min(TOP_NS)))
    }

    #[inline]
    fn at(&mut self, number: usize) -> &mut Bucket {
        if self.places.is_empty() {
            self.find_places();
        }
        if self.places[number] == 0 {
            self.filled.push((number as u16, Bucket::default()));
            self.places[number] = self.filled.len() as u16;
        }
        &mut self.filled[usize::from(self.places[number]) - 1].1
    }

    #[cold]
    fn find_places(&mut self) {
        self.places = vec![0; BUCKETS];
        for (at, (number, _)) in self.filled.iter().enumerate() {
            self.places[usize::from(*number).min(BUCKETS - 1)] = at as u16 + 1;
        }
    }

    /// The slowest apart from the rest; none without statements, or where all share one bucket.
    pub fn model(&self, major: u32) -> Option<model::Tail> {
        let mut filled: Vec<_> = self.filled.iter().map(|(number, bucket)| (usize::from(*number), bucket)).collect();
        filled.sort_unstable_by_key(|(number, _)| *number);
        let total: u64 = filled.iter().map(|(_, bucket)| bucket.count).sum();
        let from = boundary(&filled, total)?;
        let sum = |buckets: &[(usize, &Bucket)]| {
            buckets.iter().fold(Bucket::default(), |mut sum, (_, bucket)| {
                sum.add(bucket);
                sum
            })
        };
        let (rest, tail) = (sum(&filled[..from]), sum(&filled[from..]));
        (rest.count != 0).then(|| model::Tail {
            from_ns: lowest(filled[from].0),
            count: tail.count,
            ledger: tail.ledger.model(major),
            rest_count: rest.count,
            rest: rest.ledger.model(major),
        })
    }
}

/// Where in the list the tail begins: at the bucket with which its share comes closest to what is wanted, but with one at least.
fn boundary(filled: &[(usize, &Bucket)], total: u64) -> Option<usize> {
    let mut from = filled.len().checked_sub(1)?;
    let mut count = filled[from].1.count;
    while from > 0 {
        let next = count + filled[from - 1].1.count;
        if (next * ONE_IN).abs_diff(total) > (count * ONE_IN).abs_diff(total) {
            break;
        }
        (from, count) = (from - 1, next);
    }
    Some(from)
}

const fn index(value: u64) -> usize {
    if value < 2 * SUB as u64 {
        return value as usize;
    }
    let shift = 57 - value.leading_zeros() as usize;
    shift * SUB + (value >> shift) as usize
}

const fn lowest(bucket: usize) -> u64 {
    if bucket < 2 * SUB {
        return bucket as u64;
    }
    ((bucket % SUB + SUB) as u64) << (bucket / SUB - 1)
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::record::Finished;

    use super::*;
    use crate::vocabulary::State;

    fn short(wall_ns: u64) -> Short {
        Short::of(&Finished { end_ns: wall_ns, cpu_ns: wall_ns, ..Finished::default() })
    }

    fn slept(ns: u64) -> KernelLedger {
        let mut ledger = KernelLedger::default();
        let part = &mut ledger.parts[0];
        (part.wait_event_info, part.count, part.ns) = (0x0a00_0000, 1, ns);
        ledger
    }

    #[test]
    fn buckets_are_narrow_and_without_gaps() {
        assert_eq!(BUCKETS, 2_345);
        for bucket in 1..BUCKETS {
            let (below, from) = (lowest(bucket - 1), lowest(bucket));
            assert_eq!((index(from), index(from - 1)), (bucket, bucket - 1));
            assert!(bucket < 2 * SUB || (from - below) * SUB as u64 <= from, "{bucket}");
        }
    }

    #[test]
    fn the_slowest_are_apart_with_what_they_waited_for() {
        let mut tail = Tail::default();
        (0..990).for_each(|n| tail.short(&short(10_000 + n)));
        (0..10).for_each(|_| tail.slept(5_000_000, &slept(4_000_000)));
        let model = tail.model(15).unwrap();
        assert_eq!((model.count, model.rest_count), (10, 990));
        assert!(model.from_ns <= 5_000_000 && model.from_ns > 4_600_000, "{}", model.from_ns);
        assert_eq!(model.ledger.wall_ns, 50_000_000);
        let blocked: Vec<_> = model.ledger.parts.iter().filter(|part| part.state == State::Blocked).collect();
        assert_eq!((blocked.len(), blocked[0].ns, blocked[0].count), (1, 40_000_000, 10));
        assert!(!model.rest.parts.iter().any(|part| part.state == State::Blocked), "{:?}", model.rest);
        assert_eq!(model.rest.wall_ns, (0..990).map(|n| 10_000 + n).sum::<u64>());
    }

    #[test]
    fn about_one_in_a_hundred() {
        let mut tail = Tail::default();
        (1..=100_000).for_each(|n| tail.short(&short(n * 1_000)));
        let model = tail.model(15).unwrap();
        assert_eq!(model.count, (1..=100_000).filter(|n| n * 1_000 >= model.from_ns).count() as u64);
        assert!((500..2_000).contains(&model.count), "{}", model.count);
        assert_eq!(model.count + model.rest_count, 100_000);
    }

    #[test]
    fn none_where_there_is_nothing_to_compare() {
        let mut tail = Tail::default();
        assert_eq!(tail.model(15), None);
        (0..1_000).for_each(|_| tail.short(&short(10_000)));
        assert_eq!(tail.model(15), None);
        tail.short(&short(u64::MAX / 2));
        assert_eq!(tail.model(15).map(|model| (model.count, model.rest_count)), Some((1, 1_000)));
    }
}
