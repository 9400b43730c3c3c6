//! The kernel's flusher, and backends that wait for pages it writes.

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

pub static PROBE: Probe = Probe {
    name: "writeback",
    help: "pages the kernel writes in the background, by device and reason, and backends that wait for such pages",
    level: Level::Standard,
    unit: "pages",
    labels: &["device", "cgroup", "reason"],
    essential: false,
    ways: &[Way {
        name: "tp_btf",
        hooks: &[
            Hook { program: "writeback_start", point: Point::TpBtf("writeback_start") },
            Hook { program: "writeback_written", point: Point::TpBtf("writeback_written") },
            Hook { program: "page_wait", point: Point::TpBtf("folio_wait_writeback|wait_on_page_writeback") },
        ],
        loses: "",
    }],
    without: "no table of writeback, and waits for pages under writeback are shown as writing",
    hit_kinds: &[Hit::Writeback],
    exercise: None,
};
