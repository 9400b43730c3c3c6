//! What happens between two moments: sums of stretches of time that add up to the sum of the whole, and counters that never
//! go back, of which a stretch has what they gained in it.

mod merge;
pub mod pairs;
mod since;
mod span;
mod timeline;

pub use merge::Merge;
pub use since::{Gain, Since};
pub use span::Span;
pub use timeline::Timeline;
