//! Numbers with their units, and names that cannot harm the terminal.

/// A duration with three significant digits: `123 ns`, `1.23 µs`, `12.3 ms`, `1.23 s`, `16.7 min`, `2.50 h`.
pub fn duration(ns: u64) -> String {
    if ns < 1_000 {
        return format!("{ns} ns");
    }
    let ns = ns as f64;
    for (unit, size, limit) in [("µs", 1e3, 999.5), ("ms", 1e6, 999.5), ("s", 1e9, 999.5), ("min", 60e9, 99.95)] {
        if ns / size < limit {
            return format!("{} {unit}", three(ns / size));
        }
    }
    let hours = ns / 3600e9;
    if hours < 999.5 { format!("{} h", three(hours)) } else { format!("{} h", count(hours as u64)) }
}

/// As [`duration`], of a mean.
pub fn duration_f(ns: f64) -> String {
    duration(if ns.is_finite() { ns.max(0.0).round() as u64 } else { 0 })
}

/// Three significant digits of a number below 999.5.
fn three(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A number with its thousands apart: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with a fraction where it is small: `0.5`, `12.3`, `1,234`.
pub fn rate(value: f64) -> String {
    if !value.is_finite() || value <= 0.0 {
        return "0".into();
    }
    match value {
        v if v < 0.01 => "< 0.01".into(),
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => count(v.round() as u64),
    }
}

/// A size: `512 B`, `1.50 MiB`.
pub fn bytes(n: u64) -> String {
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        unit = next;
        value /= 1024.0;
        if value < 999.5 {
            break;
        }
    }
    format!("{} {unit}", three(value.min(999.0)))
}

/// A share of 0 to 1.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "0.0 %".into();
    }
    format!("{:.1} %", share * 100.0)
}

/// The shares of a whole in tenths of a percent that add up to exactly 1000, by the largest remainder; all zero when
/// the whole is.
pub fn tenths(parts: &[u64]) -> Vec<u64> {
    let whole: u128 = parts.iter().map(|&p| p as u128).sum();
    if whole == 0 {
        return vec![0; parts.len()];
    }
    let mut out: Vec<u64> = parts.iter().map(|&p| (p as u128 * 1000 / whole) as u64).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(parts[i] as u128 * 1000 % whole));
    let missing = 1000 - out.iter().sum::<u64>();
    for &i in order.iter().take(missing as usize) {
        out[i] += 1;
    }
    out
}

/// `451` as `45.1 %`.
pub fn tenths_text(tenths: u64) -> String {
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// The text on one line without anything a terminal would act on: line breaks and tabs become spaces, other control
/// characters, and those that hide or turn text around, their code.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_harmful(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// What a terminal acts on, or a reader does not see.
pub(crate) fn is_harmful(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Columns a character takes; wide East Asian ones and pictures take two.
fn char_width(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// Columns a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// The text, or as much of it as fits with `…` at the end.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.into();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += char_width(c);
        if used + 1 > columns {
            break;
        }
        out.push(c);
    }
    if columns > 0 {
        out.truncate(out.trim_end().len());
        out.push('…');
    }
    out
}

/// As [`fit`], but what does not fit is left out at the start: the end of a path says more than its beginning.
pub fn fit_end(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.into();
    }
    let mut used = 1;
    let kept: Vec<char> = text.chars().rev().take_while(|&c| (used += char_width(c), used <= columns).1).collect();
    if columns == 0 { String::new() } else { std::iter::once('…').chain(kept.into_iter().rev()).collect() }
}

/// A statement's text, cut where it is long.
pub fn short(text: &str) -> String {
    const MOST: usize = 120;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}

/// A space at which [`wrap`] breaks no line; it is shown as a space.
pub const TIE: char = '\u{a0}';

/// A number and its unit, or a name and its number, kept together by [`wrap`].
pub fn tie(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

/// The text over lines of at most `columns`, all but the first indented, the last of `most` cut off with `…`. Runs of
/// spaces stay.
pub fn wrap(text: &str, columns: usize, indent: usize, most: usize) -> Vec<String> {
    let indent = " ".repeat(indent.min(columns / 2));
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut rest = text;
    while !rest.trim_matches(' ').is_empty() {
        let start = rest.len() - rest.trim_start_matches(' ').len();
        let end = rest[start..].find(' ').map_or(rest.len(), |n| start + n);
        let (gap, word) = (&rest[..start], &rest[start..end]);
        let full = !line.trim().is_empty() && width(&line) + start + width(word) > columns;
        if full && lines.len() + 1 >= most {
            line.push_str(rest);
            break;
        }
        if full {
            lines.push(fit(&line, columns));
            line = indent.clone();
        } else {
            line.push_str(gap);
        }
        line.push_str(word);
        rest = &rest[end..];
    }
    if !line.trim().is_empty() {
        lines.push(fit(&line, columns));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_999, "10.0 µs"),
            (99_960, "100 µs"),
            (999_600, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (10_000_000_000, "10.0 s"),
            (999_900_000_000, "16.7 min"),
            (9_000_000_000_000, "2.50 h"),
            (u64::MAX, "5,124,095 h"),
        ] {
            assert_eq!(duration(ns), text, "{ns}");
        }
        assert_eq!((duration_f(f64::NAN), duration_f(-1.0)), ("0 ns".to_string(), "0 ns".to_string()));
    }

    #[test]
    fn counts_sizes_rates() {
        assert_eq!(
            (count(0), count(999), count(1_000), count(1_234_567)),
            ("0".into(), "999".into(), "1,000".into(), "1,234,567".into())
        );
        assert_eq!(
            (bytes(1023), bytes(1536), bytes(24 << 20)),
            ("1023 B".into(), "1.50 KiB".into(), "24.0 MiB".into())
        );
        assert_eq!(
            (rate(0.0), rate(0.001), rate(3.1449), rate(1234.5)),
            ("0".into(), "< 0.01".into(), "3.14".into(), "1,235".into())
        );
    }

    #[test]
    fn shares_add_up() {
        for parts in [vec![1, 1, 1], vec![0, 7], vec![u64::MAX, u64::MAX, 3], vec![1, 999_999, 5, 5, 5, 333]] {
            assert_eq!(tenths(&parts).iter().sum::<u64>(), 1000, "{parts:?}");
        }
        assert_eq!(tenths(&[0, 0]), [0, 0]);
        assert_eq!(tenths_text(1000), "100.0 %");
    }

    #[test]
    fn nothing_reaches_the_terminal() {
        let text = clean("a\nb\x1b[31mc\u{9b}2J\u{202e}d\x07");
        assert!(!text.chars().any(|c| c.is_control() || is_invisible(c)), "{text}");
        assert!(text.starts_with("a b\\u{1b}[31mc"));
    }

    #[test]
    fn fitting_and_wrapping() {
        assert_eq!((fit("abc", 3), fit("abcd", 3), fit("abcd", 0)), ("abc".into(), "ab…".into(), "".into()));
        assert_eq!(width(&fit("日本語日本語", 5)), 5);
        assert_eq!(
            (fit_end("abcd", 3), fit_end("abcd", 4), fit_end("abcd", 0)),
            ("…cd".into(), "abcd".into(), "".into())
        );
        assert_eq!(wrap(&format!("a  b {}", tie("12 ms")), 8, 1, 9), ["a  b", " 12\u{a0}ms"]);
        assert_eq!(wrap("one two three four", 9, 2, 9), ["one two", "  three", "  four"]);
        assert_eq!(wrap("one two three four", 9, 2, 2), ["one two", "  three…"]);
        assert_eq!(wrap("  unbreakablelongword", 8, 2, 2), ["  unbre…"]);
    }
}
