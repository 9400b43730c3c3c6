//! When the kernel makes a backend wait for memory, or free some: limits of dirty pages, of memory cgroups, of the host.

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

pub static PROBE: Probe = Probe {
    name: "memory",
    help: "waits because too much memory is dirty; memory that a backend must free first, of the host or of a cgroup at \
           its limit: how often, how long, how much",
    level: Level::Standard,
    unit: "ns",
    labels: &["cause", "role", "statement class"],
    essential: false,
    ways: &[
        Way {
            name: "tp_btf",
            hooks: &[
                DIRTY,
                BEGIN,
                END,
                Hook { program: "memcg_reclaim_begin", point: Point::TpBtf("mm_vmscan_memcg_reclaim_begin") },
                Hook { program: "memcg_reclaim_end", point: Point::TpBtf("mm_vmscan_memcg_reclaim_end") },
            ],
            loses: "",
        },
        // Kernels without memory cgroups.
        Way { name: "host", hooks: &[DIRTY, BEGIN, END], loses: "reclaim for the limit of a memory cgroup" },
    ],
    without: "dirty-page throttling is shown as writing, reclaim for a cgroup as reclaim, and who frees how much memory \
              is not known",
    hit_kinds: &[Hit::Memory],
    exercise: None,
};

const DIRTY: Hook = Hook { program: "balance_dirty_pages", point: Point::TpBtf("balance_dirty_pages") };

const BEGIN: Hook = Hook { program: "direct_reclaim_begin", point: Point::TpBtf("mm_vmscan_direct_reclaim_begin") };
const END: Hook = Hook { program: "direct_reclaim_end", point: Point::TpBtf("mm_vmscan_direct_reclaim_end") };
