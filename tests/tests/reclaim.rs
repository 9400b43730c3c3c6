//! Memory reclaim below the limit of a cgroup, against bpftrace and the cgroup's own counters.

use std::fs;

use pgstrobe_tests::*;

/// What the server may use, page cache included, and what it reads.
const LIMIT: u64 = 48 << 20;
const ROWS: u64 = 100_000;

/// How much later one profiler's program runs at an event than the other's, on average, in nanoseconds.
const BEHIND: u64 = 10_000;

fn page() -> u64 {
    // SAFETY: a plain library call.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("the size of a page")
}

/// A server with a table larger than its limit, none of which is in the page cache.
fn prepared(parallel: u32) -> Result<(Cluster, Cgroup), String> {
    if !installed("bpftrace") {
        return Err("bpftrace is not installed".into());
    }
    let group = Cgroup::new("memory")?;
    let workers = format!("max_parallel_workers_per_gather = {parallel}");
    let cluster =
        quiet_with(&["shared_buffers = 1MB", "min_parallel_table_scan_size = 0", "parallel_setup_cost = 0", &workers]);
    psql(&cluster, &format!("CREATE TABLE t AS SELECT i, repeat('x', 900) AS b FROM generate_series(1, {ROWS}) i"));
    psql(&cluster, "VACUUM t");
    psql(&cluster, "CHECKPOINT");
    // Who first reads a page pays for it.
    fs::write("/proc/sys/vm/drop_caches", "1").map_err(|error| error.to_string())?;
    group.add(&cluster.pids());
    group.limit_memory(LIMIT);
    Ok((cluster, group))
}

#[test]
fn a_scan_below_a_limit_as_bpftrace() {
    let (cluster, group) = match prepared(0) {
        Ok(prepared) => prepared,
        Err(reason) => skip!("{reason}"),
    };
    let witness = BpftraceReclaims::start("memcg");
    let profile = Profile::start(&cluster, &[]);
    let hits = group.memory_hits();
    for _ in 0..3 {
        psql(&cluster, "SELECT count(*) FROM t WHERE b LIKE '%y'");
    }
    let hits = group.memory_hits() - hits;
    let report = profile.stop();
    let expected = witness.stop();

    println!("bpftrace: {expected:?}; the group was at its limit {hits} times");
    let total: u64 = expected.values().map(|one| one.count).sum();
    assert!(total > 100, "{total} reclaims");
    let memory = &report.memory;
    let mut seen = std::collections::BTreeMap::new();
    for backend in memory.backends.iter().filter(|backend| backend.cgroup.count > 0) {
        let one = &backend.cgroup;
        assert!(one.cpu_ns <= one.total_ns && one.max_ns <= one.total_ns, "{backend:?}");
        let ns = expected.get(&backend.pid).map_or(0, |of| of.ns);
        println!("pid {}: {} ns, bpftrace {ns} ns, {} reclaims", backend.pid, one.total_ns, one.count);
        assert!(one.total_ns.abs_diff(ns) <= BEHIND * one.count, "{backend:?}: bpftrace {ns} ns");
        seen.insert(backend.pid, (one.count, one.freed_bytes / page()));
    }
    let witnessed: std::collections::BTreeMap<_, _> =
        expected.iter().map(|(pid, one)| (*pid, (one.count, one.pages))).collect();
    assert_eq!(seen, witnessed);
    // By class they are the same again.
    assert_eq!(memory.by.iter().map(|by| by.cgroup.count).sum::<u64>(), memory.cgroup.count);
    assert_eq!(memory.by.iter().map(|by| by.cgroup.freed_bytes).sum::<u64>(), memory.cgroup.freed_bytes);
    let scan = &memory.by[0];
    assert_eq!((scan.role.as_str(), scan.pids.len()), ("client backend", 3));
    assert!(scan.query.as_deref().is_some_and(|query| query.contains("FROM t WHERE b LIKE")), "{scan:?}");
    let limits = memory.limits.as_ref().expect("the limit of the group");
    assert_eq!((limits.limit_bytes, limits.path.ends_with(&group.name())), (Some(LIMIT), true));
    assert!(limits.usage_bytes <= LIMIT && limits.file_bytes > LIMIT / 4, "{limits:?}");
    assert!(limits.limit_hits >= hits && hits > 0, "{limits:?}, {hits} during the scans");
    assert_nothing_lost(&report);
    let found = report.findings.iter().find(|finding| finding.id == "reclaim");
    println!("finding: {found:#?}");
}

#[test]
fn workers_free_memory_for_their_leader() {
    let (cluster, _group) = match prepared(2) {
        Ok(prepared) => prepared,
        Err(reason) => skip!("{reason}"),
    };
    let witness = BpftraceReclaims::start("memcg");
    let profile = Profile::start(&cluster, &[]);
    psql(&cluster, "SELECT count(*) FROM t WHERE b LIKE '%y'");
    let report = profile.stop();
    let expected = witness.stop();

    let total: u64 = expected.values().map(|one| one.count).sum();
    println!("bpftrace: {expected:?}");
    let memory = &report.memory;
    assert!(total > 20, "{total} reclaims");
    assert_eq!(memory.cgroup.count, total);
    assert_eq!(memory.cgroup.freed_bytes / page(), expected.values().map(|one| one.pages).sum::<u64>());
    let workers = memory.by.iter().find(|by| by.role == "parallel worker").expect("workers freed some");
    assert!(workers.query.as_deref().is_some_and(|query| query.contains("FROM t WHERE b LIKE")), "{workers:?}");
    assert_nothing_lost(&report);
}

/// What is written has to be on the disk before its memory is free again, the group is full of it, and the disk is slow.
#[test]
fn a_writer_below_a_limit() {
    let (group, disk) = match (Cgroup::new("memory"), SlowDisk::mount(false)) {
        (Ok(group), Ok(disk)) => (group, disk),
        (Err(reason), _) | (_, Err(reason)) => skip!("{reason}"),
    };
    let cluster = quiet_with(&["shared_buffers = 1MB", "wal_level = minimal", "max_wal_senders = 0"]);
    disk.tablespace(&cluster);
    psql(&cluster, "CREATE UNLOGGED TABLE t (a int, b text) TABLESPACE slow");
    group.add(&cluster.pids());
    group.limit_memory(LIMIT / 2);
    let profile = Profile::start(&cluster, &[]);
    disk.limit_pace(16 << 20);
    psql(&cluster, "INSERT INTO t SELECT i, repeat('x', 900) FROM generate_series(1, 60000) i");
    let report = profile.stop();
    assert_nothing_lost(&report);
    let first = assert_first(&report, "reclaim");
    let said = first.evidence.join("\n");
    for needed in ["themselves", "memory.", &group.name()] {
        assert!(said.contains(needed), "{needed} is not named: {first:#?}");
    }
}
