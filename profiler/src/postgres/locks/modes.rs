//! Lock modes of Postgres and which of them exclude each other.

/// `MaxLockMode` (src/include/storage/lockdefs.h, 13 to 18).
const HIGHEST: u32 = 8;

/// One bit per mode, as in a `LOCKMASK`; bit 0 (`NoLock`) is never set.
pub const ALL: u32 = 0b1_1111_1110;

/// Names (lockdefs.h) and, for each mode, the modes it conflicts with: `LockConflicts` in
/// src/backend/storage/lmgr/lock.c, equal in 13 to 18 and for both lock methods.
#[rustfmt::skip]
const MODES: [(&str, &[u32]); HIGHEST as usize] = [
    ("AccessShareLock",          &[8]),
    ("RowShareLock",             &[7, 8]),
    ("RowExclusiveLock",         &[5, 6, 7, 8]),
    ("ShareUpdateExclusiveLock", &[4, 5, 6, 7, 8]),
    ("ShareLock",                &[3, 4, 6, 7, 8]),
    ("ShareRowExclusiveLock",    &[3, 4, 5, 6, 7, 8]),
    ("ExclusiveLock",            &[2, 3, 4, 5, 6, 7, 8]),
    ("AccessExclusiveLock",      &[1, 2, 3, 4, 5, 6, 7, 8]),
];

/// A mode that can be waited for: 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

impl Mode {
    pub fn new(number: u32) -> Option<Self> {
        (1..=HIGHEST).contains(&number).then_some(Self(number))
    }

    /// As `pg_locks.mode` shows it.
    pub fn name(self) -> &'static str {
        MODES[self.0 as usize - 1].0
    }

    /// `LOCKBIT_ON` (src/include/storage/lock.h).
    pub fn bit(self) -> u32 {
        1 << self.0
    }

    /// The modes that keep this one waiting.
    pub fn conflicts(self) -> u32 {
        MODES[self.0 as usize - 1].1.iter().fold(0, |mask, mode| mask | 1 << mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes() -> impl Iterator<Item = Mode> {
        (1..=HIGHEST).filter_map(Mode::new)
    }

    #[test]
    fn conflicts_are_mutual() {
        for a in modes() {
            for b in modes() {
                assert_eq!(a.conflicts() & b.bit() != 0, b.conflicts() & a.bit() != 0, "{a:?} {b:?}");
            }
            assert_eq!(a.conflicts() & !ALL, 0);
        }
    }

    /// The table of the manual (13.3.1, table-level locks): which modes exclude themselves, and the one that excludes all.
    #[test]
    fn conflicts_are_those_of_the_manual() {
        let own: Vec<&str> = modes().filter(|mode| mode.conflicts() & mode.bit() != 0).map(Mode::name).collect();
        let expected = ["ShareUpdateExclusiveLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"];
        assert_eq!(own, expected);
        assert_eq!(Mode::new(8).unwrap().conflicts(), ALL);
        assert_eq!(modes().map(|mode| mode.conflicts().count_ones()).collect::<Vec<_>>(), [1, 2, 4, 5, 5, 6, 7, 8]);
    }

    #[test]
    fn other_numbers_are_no_modes() {
        for number in [0, 9, 10, u32::MAX] {
            assert_eq!(Mode::new(number), None);
        }
    }
}
