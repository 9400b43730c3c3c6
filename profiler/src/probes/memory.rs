//! When the kernel makes a backend wait for memory: limits of dirty pages, and of memory cgroups.

use pgstrobe_common::state::HIT_MEMORY;

use super::{Hook, Level, Point, Probe, Way};

pub static PROBE: Probe = Probe {
    name: "memory",
    help: "waits because too much memory is dirty, or because a memory cgroup is at its limit",
    level: Level::Standard,
    unit: "ns",
    labels: &["cause"],
    essential: false,
    ways: &[Way {
        name: "tp_btf",
        hooks: &[
            Hook { program: "balance_dirty_pages", point: Point::TpBtf("balance_dirty_pages") },
            Hook { program: "memcg_reclaim_begin", point: Point::TpBtf("mm_vmscan_memcg_reclaim_begin") },
            Hook { program: "memcg_reclaim_end", point: Point::TpBtf("mm_vmscan_memcg_reclaim_end") },
        ],
        loses: "",
    }],
    without: "dirty-page throttling is shown as writing, and reclaim for a cgroup as reclaim",
    hit_kinds: &[HIT_MEMORY],
    exercise: None,
};
