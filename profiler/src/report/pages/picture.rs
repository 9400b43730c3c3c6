//! The histogram that users of BCC know: powers of two of microseconds.

use crate::{
    hist::Histogram,
    page::{Bar, Block, Line, Picture},
    report::model::Hist,
};

/// The powers of two of microseconds, from the first to the last that hold anything. The edges 2^k µs are bucket edges
/// of the histogram, so that no value is put on the wrong side.
fn log2_usecs(hist: &Histogram) -> Vec<Bar> {
    let mut slots = [0u64; 64];
    for (low, _, n) in hist.buckets() {
        let usecs = low / 1_000;
        slots[if usecs < 2 { 0 } else { usecs.ilog2() as usize }] += n;
    }
    let first = slots.iter().position(|&n| n > 0).unwrap_or(0);
    let last = slots.iter().rposition(|&n| n > 0).map_or(0, |last| last + 1);
    let bar = |k: usize| Bar { from: if k == 0 { 0 } else { 1 << k }, to: (2u64 << k) - 1, count: slots[k] };
    (first..last).map(bar).collect()
}

/// The picture, or what keeps it from being drawn.
pub(super) fn of(hist: &Hist) -> Block {
    match Histogram::from_hist(hist) {
        Ok(decoded) => Block::Picture(Picture { unit: "usecs", bars: log2_usecs(&decoded) }),
        Err(error) => Block::Line(Line::text(format!("no picture: {error}")).indent(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_exact() {
        let mut hist = Histogram::new();
        for k in 1..30 {
            hist.record((1_000 << k) - 1);
            hist.record(1_000 << k);
        }
        let bars = log2_usecs(&hist);
        assert_eq!(bars[0], Bar { from: 0, to: 1, count: 1 });
        assert_eq!(bars[1], Bar { from: 2, to: 3, count: 2 });
        assert!(bars[1..29].iter().all(|bar| bar.count == 2), "{bars:?}");
        assert_eq!(log2_usecs(&Histogram::new()), []);
    }
}
