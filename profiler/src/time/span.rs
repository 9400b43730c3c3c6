//! From when to when something was counted.

use serde::{Deserialize, Serialize};

use super::Merge;

/// A stretch of time by `CLOCK_MONOTONIC`, in nanoseconds; the end is not in it. The default is none at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub from_ns: u64,
    pub to_ns: u64,
}

impl Span {
    /// How long after its beginning this was; 0 for what was before.
    pub const fn since_begin_ns(&self, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.from_ns)
    }
}

impl Merge for Span {
    fn merge(&mut self, later: Self) {
        if *self == Self::default() {
            *self = later;
        } else if later != Self::default() {
            self.to_ns = later.to_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_goes_on() {
        let mut span = Span::default();
        for (from_ns, to_ns) in [(5, 9), (9, 12), (0, 0)] {
            span.merge(Span { from_ns, to_ns });
        }
        assert_eq!(span, Span { from_ns: 5, to_ns: 12 });
        assert_eq!([3, 5, 8].map(|at| span.since_begin_ns(at)), [0, 0, 3]);
    }
}
