//! Numbers with their units.

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
    }
}
