//! Numbers of servers, by which the kernel side, and its records, tell one from another.

use pgstrobe_common::cluster::MAX_CLUSTERS;

/// Those given so far: one is given again only when there is no other, as records and sums of before have it.
#[derive(Default)]
pub(super) struct Numbers {
    given: u16,
}

/// One more than the last number.
const END: u16 = MAX_CLUSTERS as u16;

impl Numbers {
    /// A number for one more server beside those `in_use`; none where all are taken.
    pub fn next(&mut self, in_use: impl Fn(u16) -> bool) -> Option<u16> {
        if self.given < END {
            self.given += 1;
            return Some(self.given - 1);
        }
        (0..END).find(|number| !in_use(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_only_when_there_is_no_other() {
        let mut numbers = Numbers::default();
        let first: Vec<u16> = (0..END).filter_map(|_| numbers.next(|_| false)).collect();
        assert_eq!(first, (0..END).collect::<Vec<_>>());
        assert_eq!(numbers.next(|number| number != 7), Some(7));
        assert_eq!(numbers.next(|_| true), None);
    }
}
