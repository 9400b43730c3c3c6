//! Where the time goes: on CPU, runnable, blocked under which wait event.

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

pub static PROBE: Probe = Probe {
    name: "ledger",
    help: "wall time of every backend and statement: on CPU, waiting for a CPU, blocked by wait event and kernel cause",
    level: Level::Sample,
    unit: "ns",
    labels: &["state", "wait event", "cause"],
    essential: true,
    ways: &[Way {
        name: "tp_btf",
        hooks: &[Hook { program: "sched_switch", point: Point::TpBtf("sched_switch") }],
        loses: "",
    }],
    without: "no ledger",
    hit_kinds: &[Hit::Switch],
    exercise: None,
};
