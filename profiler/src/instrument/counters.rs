//! What the kernel side counts, each CPU by itself.

use aya::{Ebpf, maps::PerCpuArray};

/// One of the counters of a map, by the number of the CPU; none where there is no such.
pub fn per_cpu(ebpf: &Ebpf, map: &str, index: u32) -> Vec<u64> {
    let map = ebpf.map(map).and_then(|map| PerCpuArray::<_, u64>::try_from(map).ok());
    map.and_then(|map| map.get(&index, 0).ok()).map_or_else(Vec::new, |values| values.to_vec())
}

/// The same over all CPUs.
pub fn counter(ebpf: &Ebpf, map: &str, index: u32) -> u64 {
    per_cpu(ebpf, map, index).iter().sum()
}
