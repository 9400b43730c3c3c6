//! Sums of numbers of a report.

/// The sum, at most `u64::MAX`: a report may be read from a file, whose numbers are anybody's.
pub fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}
