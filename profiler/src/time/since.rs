//! Counters that only grow, and what came to them since they were last looked at.

/// A counter, or several that are read together.
pub trait Gain {
    /// What came since it stood at `before`. One that runs backwards was begun anew, and of it nothing is known.
    fn since(&self, before: &Self) -> Self;
}

impl Gain for u64 {
    fn since(&self, before: &Self) -> Self {
        self.saturating_sub(*before)
    }
}

/// How a counter stood when it was last taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since<T> {
    before: T,
}

impl<T: Gain> Since<T> {
    /// From here on.
    pub const fn from(now: T) -> Self {
        Self { before: now }
    }

    /// What it gained; the next stretch begins.
    pub fn take(&mut self, now: T) -> T {
        let gained = now.since(&self.before);
        self.before = now;
        gained
    }

    /// How it stood then.
    pub const fn before(&self) -> &T {
        &self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stretch_has_what_came_in_it() {
        let mut since = Since::from(5_u64);
        assert_eq!([12, 12, 3, 10].map(|now| since.take(now)), [7, 0, 0, 7]);
    }
}
