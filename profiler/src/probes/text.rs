//! Whole texts of statements longer than `track_activity_query_size`.

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

pub static PROBE: Probe = Probe {
    name: "text",
    help: "backends at work: the wait event they show meanwhile, and the whole text of statements the server shows cut",
    level: Level::Standard,
    unit: "bytes",
    labels: &["statement class"],
    essential: false,
    ways: &[Way { name: "perf_event", hooks: &[Hook { program: "sampler", point: Point::CpuClock(97) }], loses: "" }],
    without: "long statements are shown cut at track_activity_query_size",
    hit_kinds: &[Hit::Sample],
    exercise: None,
};
