//! Histograms as the users of BCC know them: powers of two, and a bar for each.

use crate::{
    page::Picture,
    words::{count, fit},
};

/// The longest bar, in columns.
const BARS: usize = 40;

/// The bar of `n`, where `most` fills the width.
fn bar(n: u64, most: u64, width: usize) -> String {
    let stars = (n as u128 * width as u128 / most.max(1) as u128) as usize;
    format!("{}{}", "*".repeat(stars), " ".repeat(width - stars))
}

pub(super) fn lines(picture: &Picture, columns: usize) -> Vec<String> {
    let (unit, bars) = (picture.unit, &picture.bars);
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0);
    let edge = bars.last().map_or(1, |bar| bar.to.to_string().len()).max(4);
    let counts = count(most).len().max(5);
    // "  EDGE -> EDGE : COUNT |bar|"
    let left = 2 * edge + 4 + 3 + counts;
    if left + 1 > columns {
        let short = |bar: &crate::page::Bar| format!(" {:<edge$} {}", bar.from, count(bar.count));
        return std::iter::once(format!(" {:<edge$} {unit}", "from")).chain(bars.iter().map(short)).collect();
    }
    let room = columns.saturating_sub(left + 4).min(BARS);
    let title = format!("{unit:>width$} : {:<counts$} distribution", "count", width = 2 * edge + 5);
    let line = |one: &crate::page::Bar| {
        let text = format!(" {:>edge$} -> {:<edge$} : {:<counts$}", one.from, one.to, count(one.count));
        if room >= 4 { format!("{text} |{}|", bar(one.count, most, room)) } else { text }
    };
    std::iter::once(fit(&title, columns)).chain(bars.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        assert_eq!((bar(5, 10, 4), bar(10, 10, 4), bar(0, 0, 2)), ("**  ".into(), "****".into(), "  ".into()));
    }
}
