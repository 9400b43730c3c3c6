//! bpftrace as the witness of memory reclaim: what each process of a cluster freed itself.

use std::collections::BTreeMap;

use crate::witness::{Bpftrace, TICK};

/// Of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaims {
    pub count: u64,
    pub ns: u64,
    pub pages: u64,
}

pub struct BpftraceReclaims(Bpftrace);

/// `mm_vmscan_KIND_reclaim_begin` to its end.
const SCRIPT: &str = r#"
tracepoint:vmscan:mm_vmscan_KIND_reclaim_begin /comm == "postgres"/ { @began[tid] = nsecs; }
tracepoint:vmscan:mm_vmscan_KIND_reclaim_end /@began[tid]/ {
    @count[tid] = count();
    @ns[tid] = sum(nsecs - @began[tid]);
    @pages[tid] = sum(args->nr_reclaimed);
    delete(@began[tid]);
}
"#;

impl BpftraceReclaims {
    /// `memcg` or `direct`.
    pub fn start(kind: &str) -> Self {
        Self(Bpftrace::start(&format!("{}{TICK}", SCRIPT.replace("KIND", kind))))
    }

    pub fn stop(self) -> BTreeMap<u32, Reclaims> {
        let mut reclaims = BTreeMap::<u32, Reclaims>::new();
        for line in self.0.stop() {
            // @pages[4711]: 123
            let Some((map, rest)) = line.strip_prefix('@').and_then(|rest| rest.split_once('[')) else { continue };
            let Some((pid, value)) = rest.split_once("]: ") else { continue };
            let (Ok(pid), Ok(value)) = (pid.parse(), value.trim().parse()) else { continue };
            let one = reclaims.entry(pid).or_default();
            match map {
                "count" => one.count = value,
                "ns" => one.ns = value,
                "pages" => one.pages = value,
                _ => {}
            }
        }
        reclaims.retain(|_, one| one.count > 0);
        reclaims
    }
}
