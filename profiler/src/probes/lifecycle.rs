//! Backends that come and go.

use pgstrobe_common::state::{HIT_EXIT, HIT_FORK};

use super::{Hook, Level, Point, Probe, Way};

pub static PROBE: Probe = Probe {
    name: "lifecycle",
    help: "fork, start-up and exit of backends, so that the first statement of a connection counts",
    level: Level::Sample,
    unit: "count",
    labels: &["role"],
    essential: true,
    ways: &[Way {
        name: "tp_btf",
        hooks: &[
            Hook { program: "sched_process_fork", point: Point::TpBtf("sched_process_fork") },
            Hook { program: "sched_process_exit", point: Point::TpBtf("sched_process_exit") },
        ],
        loses: "",
    }],
    without: "backends that connect during the profile are not seen",
    hit_kinds: &[HIT_FORK, HIT_EXIT],
    exercise: None,
};
