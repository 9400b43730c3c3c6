//! A host without free memory: backends free some themselves, as the kernel's own tracing has it.

use pgstrobe_tests::*;

use crate::{assert_ledgers_sum, left_out, own_machine};

/// The sum of the numbers of the lines that begin like this.
fn value(file: &str, begin: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect(file);
    let lines = text.lines().filter_map(|line| line.strip_prefix(begin));
    lines.filter_map(|rest| rest.split_whitespace().find_map(|word| word.parse::<u64>().ok())).sum()
}

/// A kernel that keeps nearly all of its free memory for emergencies, and whose own thread that frees some gets a CPU when
/// nobody else wants it; as it was when this is dropped.
struct Shortage {
    reserve: String,
    kswapd: u32,
}

impl Shortage {
    const RESERVE: &str = "/proc/sys/vm/min_free_kbytes";

    /// The kernel's thread is held back on this CPU.
    fn begin(cpu: usize) -> Self {
        let reserve = std::fs::read_to_string(Self::RESERVE).expect(Self::RESERVE);
        let kswapd = std::fs::read_dir("/proc").expect("/proc").flatten().find(|process| {
            std::fs::read_to_string(process.path().join("comm")).is_ok_and(|name| name.trim() == "kswapd0")
        });
        let kswapd = kswapd.expect("kswapd0").file_name().to_string_lossy().parse().expect("a pid");
        run_on_cpu(kswapd, cpu);
        schedule(kswapd, libc::SCHED_IDLE);
        Self { reserve, kswapd }
    }

    /// Leaves so much of what is free now, in KiB.
    fn leave(&self, kib: u64) {
        let free = value("/proc/meminfo", "MemFree:");
        std::fs::write(Self::RESERVE, (free - kib).to_string()).expect(Self::RESERVE);
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        std::fs::write(Self::RESERVE, &self.reserve).expect(Self::RESERVE);
        schedule(self.kswapd, libc::SCHED_OTHER);
    }
}

fn schedule(pid: u32, policy: i32) {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: a local, valid through the call.
    let done = unsafe { libc::sched_setscheduler(pid as libc::pid_t, policy, &raw const none) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// A scan needs memory for the page cache, and there is none.
#[test]
fn a_host_without_memory() {
    if !own_machine() {
        skip!("the host's memory is not ours to take: this runs in the virtual machines");
    }
    /// What is left free, in KiB: less than the table has.
    const LEFT: u64 = 8 << 10;
    const CPU: usize = 1;
    const ENOUGH: usize = 40;
    let cluster = quiet_with(&["shared_buffers = 1MB", "max_parallel_workers_per_gather = 0"]);
    psql(&cluster, "CREATE TABLE t AS SELECT i, repeat('x', 1900) AS b FROM generate_series(1, 24000) i");
    psql(&cluster, "VACUUM t");
    psql(&cluster, "CHECKPOINT");
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("drop_caches");
    let mut client = Client::connect(&cluster, "scan");
    run_on_cpu(client.backend(&cluster), CPU);
    let profile = Profile::start(&cluster, &[]);
    // Others need a little memory too.
    let events = TraceEvents::start(&["vmscan/mm_vmscan_direct_reclaim_end"]).expect("tracing");
    let of_cluster = || {
        let pids = cluster.pids();
        let events = events.so_far().into_iter().filter(|event| pids.contains(&event.pid));
        events.map(|event| event.number("nr_reclaimed").expect("a number of pages")).collect::<Vec<_>>()
    };
    let shortage = Shortage::begin(CPU);
    for _ in 0..20 {
        // What was freed meanwhile is taken again.
        shortage.leave(LEFT);
        client.ask("SELECT count(*) FROM t WHERE b LIKE '%y'");
        if of_cluster().len() >= ENOUGH {
            break;
        }
    }
    drop(shortage);
    let mut reclaims = of_cluster();
    let report = profile.stop();
    let (count, pages) = (reclaims.len() as u64, reclaims.iter().sum::<u64>());
    let host = &report.memory.host;
    println!("{count} reclaims of {pages} pages; as the report has them: {host:?}");
    note("direct reclaims", [count, host.count]);
    assert!(reclaims.len() >= ENOUGH, "{reclaims:?}");
    let missing = count.checked_sub(host.count).unwrap_or_else(|| panic!("{count} reclaims: {host:?}"));
    assert!(missing <= left_out(&report), "{count} reclaims: {host:?}");
    // Those that are missing freed no more than as many of the largest.
    reclaims.sort_unstable_by(|a, b| b.cmp(a));
    let unseen: u64 = reclaims.iter().take(missing as usize).sum();
    assert!((pages - unseen..=pages).contains(&(host.freed_bytes / 4096)), "{pages} pages: {host:?}");
    assert!(host.cpu_ns <= host.total_ns && host.max_ns <= host.total_ns, "{host:?}");
    assert_ledgers_sum(&report);
}
