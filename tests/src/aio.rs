//! Servers with asynchronous I/O whose reads go to the device, and bpftrace as the witness of the io workers' reads.

use std::collections::BTreeMap;

use xtask::cluster::Cluster;
use xtask::servers::Build;

use crate::witness::{Bpftrace, TICK};
use crate::{QUIET, psql};

/// A cluster of 18 with this method and further settings, in which every read of a relation goes to the device, and a
/// table `big` of 31 MiB that does not fit in its buffers.
pub fn aio_cluster(build: &str, method: &str, settings: &[&str]) -> Result<Cluster, String> {
    let server = Build::named(build).expect("a build").provide().map_err(|error| format!("{build}: {error:#}"))?;
    let method = format!("io_method = {method}");
    let own = [
        &method,
        "shared_buffers = 16MB",
        "max_connections = 20",
        "debug_io_direct = data",
        "synchronize_seqscans = off",
        "max_parallel_workers_per_gather = 0",
    ];
    let settings = [QUIET, &own, settings].concat();
    let cluster =
        Cluster::start(server.with(&settings)).map_err(|error| format!("{build} with {method}: {error:#}"))?;
    psql(&cluster, "CREATE TABLE big AS SELECT i, repeat('x', 900) AS text FROM generate_series(1, 32000) i");
    psql(&cluster, "VACUUM ANALYZE big");
    psql(&cluster, "CHECKPOINT");
    Ok(cluster)
}

/// Calls that read, and the time in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub count: u64,
    pub bytes: u64,
    pub ns: u64,
}

/// bpftrace on the reads of io workers.
pub struct BpftraceReads {
    bpftrace: Bpftrace,
}

const READS: &str = r#"
tracepoint:syscalls:sys_enter_pread64, tracepoint:syscalls:sys_enter_preadv { @began[tid] = nsecs; }
tracepoint:syscalls:sys_exit_pread64, tracepoint:syscalls:sys_exit_preadv /@began[tid] && args->ret > 0/ {
    @count[pid] = count(); @bytes[pid] = sum(args->ret); @ns[pid] = sum(nsecs - @began[tid]); delete(@began[tid]);
}
"#;

impl BpftraceReads {
    pub fn start() -> Self {
        Self { bpftrace: Bpftrace::start(&format!("{READS}{TICK}")) }
    }

    /// Of these processes, together.
    pub fn stop(self, pids: &[u32]) -> Reads {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for line in self.bpftrace.stop() {
            // @count[4711]: 12
            let Some((name, rest)) = line.split_once('[') else { continue };
            let Some((pid, value)) = rest.split_once("]: ") else { continue };
            let of_them = pid.parse().is_ok_and(|pid| pids.contains(&pid));
            if let (true, Ok(value)) = (of_them, value.trim().parse::<u64>()) {
                *sums.entry(name.to_owned()).or_default() += value;
            }
        }
        let sum = |name: &str| sums.get(name).copied().unwrap_or(0);
        Reads { count: sum("@count"), bytes: sum("@bytes"), ns: sum("@ns") }
    }
}
