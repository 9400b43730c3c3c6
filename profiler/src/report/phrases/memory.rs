//! What limits the memory of a server.

use crate::{
    report::model::MemoryCgroup,
    words::{bytes, count},
};

/// `/db (256 MiB), 255 MiB in use (12 MiB anonymous, 20 MiB shared, 220 MiB page cache), met 1,200 times`
pub(crate) fn limits(cgroup: &MemoryCgroup) -> String {
    let limit = |what: &str, n: Option<u64>| n.map(|n| format!("{what} {}", bytes(n)));
    let (max, high) = if cgroup.version == 1 { ("limit_in_bytes", "") } else { ("max", "high") };
    let set: Vec<String> =
        [limit(max, cgroup.limit_bytes), limit(high, cgroup.high_bytes)].into_iter().flatten().collect();
    let mut out = format!(
        "memory.{} of {}; {} in use ({} anonymous, {} shared, {} page cache)",
        set.join(", memory."),
        cgroup.name,
        bytes(cgroup.usage_bytes),
        bytes(cgroup.anon_bytes),
        bytes(cgroup.shmem_bytes),
        bytes(cgroup.file_bytes)
    );
    for (n, what) in [
        (cgroup.limit_hits, "met"),
        (cgroup.high_hits, "above memory.high"),
        (cgroup.oom_kills, "a process killed for it"),
    ] {
        if n > 0 {
            out += &format!(", {what} {} time{}", count(n), if n == 1 { "" } else { "s" });
        }
    }
    out
}
