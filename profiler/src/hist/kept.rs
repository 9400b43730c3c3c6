//! A histogram as it is kept in a file: without loss, and small while nearly empty.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{CHUNKS, Histogram, SUB};

/// The buckets that are not empty, and what is exact: see [`Histogram`].
#[derive(Serialize, Deserialize)]
struct Kept {
    buckets: Vec<(u16, u64)>,
    sum: u64,
    min: u64,
    max: u64,
    saturated: u64,
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let buckets = self.filled().map(|(bucket, n)| (bucket as u16, n)).collect();
        let Self { sum, min, max, saturated, .. } = *self;
        Kept { buckets, sum, min, max, saturated }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Kept { buckets, sum, min, max, saturated } = Kept::deserialize(deserializer)?;
        let mut this = Self { sum, min, max, saturated, ..Self::new() };
        for (bucket, n) in buckets {
            if usize::from(bucket) >= CHUNKS * SUB {
                return Err(D::Error::custom("a histogram has more buckets than there are"));
            }
            this.count = this.count.saturating_add(n);
            this.add_at(bucket.into(), n);
        }
        Ok(this)
    }
}
