//! What happens between two moments: sums of stretches of time that add up to the sum of the whole, counters that never
//! go back, of which a stretch has what they gained in it, and the past as a list of stretches.

mod merge;
mod since;
mod window;

pub use merge::Merge;
pub use since::{Gain, Since};
pub use window::{HINDSIGHT, Span, Window};
