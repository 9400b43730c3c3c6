//! What happens between two moments: sums of stretches of time that add up to the sum of the whole, counters that never
//! go back, of which a stretch has what they gained in it, and the past as a list of stretches.

mod merge;
pub mod pairs;
mod since;
mod span;
mod timeline;
mod window;

pub use merge::Merge;
pub use since::{Gain, Since};
pub use span::Span;
pub use timeline::Timeline;
pub use window::{HINDSIGHT, Level, Window};
