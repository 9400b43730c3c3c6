//! What happens between two moments: sums of stretches of time that add up to the sum of the whole, and counters that never
//! go back, of which a stretch has what they gained in it.

mod merge;
mod since;

pub use merge::Merge;
pub use since::{Gain, Since};
