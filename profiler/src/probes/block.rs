//! Requests of the block layer: by device, owner and operation, and who delays the cluster's.

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

pub static PROBE: Probe = Probe {
    name: "block",
    help: "requests to block devices: time in the queue and in the device, sizes, by whom, and whose requests delay the \
           cluster's",
    level: Level::Standard,
    unit: "ns",
    labels: &["device", "cgroup", "process", "operation"],
    essential: false,
    ways: &[Way {
        name: "tp_btf",
        // The ends last: a request that began unseen is no loss.
        hooks: &[
            Hook { program: "block_getrq", point: Point::TpBtf("block_getrq") },
            Hook { program: "block_rq_insert", point: Point::TpBtf("block_rq_insert") },
            Hook { program: "block_rq_requeue", point: Point::TpBtf("block_rq_requeue") },
            Hook { program: "block_rq_merge", point: Point::TpBtf("block_rq_merge") },
            Hook { program: "block_rq_issue", point: Point::TpBtf("block_rq_issue") },
            Hook { program: "block_rq_complete", point: Point::TpBtf("block_rq_complete") },
        ],
        loses: "",
    }],
    without: "no table of block devices, and nobody is named whose requests delay the cluster's",
    hit_kinds: &[Hit::Block],
    exercise: None,
};
