//! Who ends the waits: the backend that wakes another one out of a lock.

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

pub static PROBE: Probe = Probe {
    name: "blockers",
    help: "who ends a wait for a lock: the backend that wakes the waiting one, its statement, and how long it held on",
    level: Level::Standard,
    unit: "ns",
    labels: &["wait event", "waiting class", "blocking backend"],
    essential: false,
    ways: &[Way {
        name: "tp_btf",
        hooks: &[Hook { program: "sched_waking", point: Point::TpBtf("sched_waking") }],
        loses: "",
    }],
    without: "waits for locks have no culprit once they are over, and waits for CPU quota of a task that woke look like others",
    hit_kinds: &[Hit::Wake],
    exercise: None,
};
