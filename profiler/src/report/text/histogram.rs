//! The picture of a histogram that users of BCC know: powers of two, and a bar for each.

use super::Page;
use super::format::{self, count};
use crate::hist::Histogram;
use crate::report::model::Hist;

/// One line of the picture: from and to, both included, in its unit, and how many values.
pub type Row = (u64, u64, u64);

/// The powers of two of microseconds, from the first to the last that hold anything. The edges 2^k µs are bucket edges
/// of the histogram, so that no value is put on the wrong side.
pub fn log2_usecs(hist: &Histogram) -> Vec<Row> {
    let mut slots = [0u64; 64];
    for (low, _, n) in hist.buckets() {
        let usecs = low / 1_000;
        slots[if usecs < 2 { 0 } else { usecs.ilog2() as usize }] += n;
    }
    let first = slots.iter().position(|&n| n > 0).unwrap_or(0);
    let last = slots.iter().rposition(|&n| n > 0).map_or(0, |last| last + 1);
    (first..last).map(|k| (if k == 0 { 0 } else { 1 << k }, (2u64 << k) - 1, slots[k])).collect()
}

/// The bar of `n`, where `most` fills the width.
fn bar(n: u64, most: u64, width: usize) -> String {
    let stars = (n as u128 * width as u128 / most.max(1) as u128) as usize;
    format!("{}{}", "*".repeat(stars), " ".repeat(width - stars))
}

pub(super) fn picture(hist: &Hist, page: &mut Page) {
    let decoded = match Histogram::from_hist(hist) {
        Ok(decoded) => decoded,
        Err(error) => return page.line(&format!(" no picture: {error}")),
    };
    let rows = log2_usecs(&decoded);
    let most = rows.iter().map(|row| row.2).max().unwrap_or(0);
    let digits = |n: u64| n.to_string().len();
    let edge = rows.last().map_or(1, |row| digits(row.1)).max(4);
    let counts = count(most).len().max(5);
    // "  EDGE -> EDGE : COUNT |bar|"
    let left = 2 * edge + 4 + 3 + counts;
    if left + 1 > page.width {
        page.line(&format!(" {:<edge$} usecs", "from"));
        rows.iter().for_each(|(from, _, n)| page.line(&format!(" {from:<edge$} {}", count(*n))));
        return;
    }
    let bars = page.width.saturating_sub(left + 4).min(40);
    let title = format!("{:>width$} : {:<counts$} distribution", "usecs", "count", width = 2 * edge + 5);
    page.line(&format::fit(&title, page.width));
    for (from, to, n) in rows {
        let text = format!(" {from:>edge$} -> {to:<edge$} : {:<counts$}", count(n));
        if bars >= 4 { page.line(&format!("{text} |{}|", bar(n, most, bars))) } else { page.line(&text) }
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
        let rows = log2_usecs(&hist);
        assert_eq!(rows[0], (0, 1, 1));
        assert_eq!(rows[1], (2, 3, 2));
        assert!(rows[1..29].iter().all(|row| row.2 == 2), "{rows:?}");
        assert_eq!(log2_usecs(&Histogram::new()), []);
    }

    #[test]
    fn bars() {
        assert_eq!((bar(5, 10, 4), bar(10, 10, 4), bar(0, 0, 2)), ("**  ".into(), "****".into(), "  ".into()));
    }
}
