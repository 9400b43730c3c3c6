//! Connections that come and go as fast as they can: nothing of pgstrobe's grows with them.
//!
//! `PGSTROBE_CHURN_SECONDS` makes it longer than the short form that is part of the suite.

use std::time::{Duration, Instant};

use pgstrobe_tests::*;
use xtask::children::Owned;

/// What may only be as large at the end as it was after the first reports.
#[derive(Debug)]
struct Size {
    rss_kb: u64,
    descriptors: usize,
    programs_and_maps: usize,
}

impl Size {
    /// The middle one of two seconds: in one tick of ten a descriptor more has the kernel time the programs, and while a
    /// report is made there is none of the ticks. Not in step with the ticks of 100 ms, each of which opens some file.
    fn usual(pid: u32) -> Self {
        let looks = (0..24).map(|_| {
            std::thread::sleep(Duration::from_millis(87));
            Self::of(pid)
        });
        let mut looks: Vec<Self> = looks.collect();
        looks.sort_by_key(|size| size.descriptors);
        looks.swap_remove(looks.len() / 2)
    }

    fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("pgstrobe runs");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
        let objects: Vec<_> = descriptors
            .flatten()
            .filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
            .collect();
        Self {
            rss_kb: rss.trim().trim_end_matches(" kB").parse().expect("a number"),
            descriptors: objects.len(),
            programs_and_maps: objects.iter().filter(|name| name.contains("bpf")).count(),
        }
    }
}

#[test]
fn nothing_grows() {
    let seconds = std::env::var("PGSTROBE_CHURN_SECONDS").ok().map_or(20, |text| text.parse().expect("a number"));
    let cluster = quiet_cluster();
    let before = BpfObjects::now();
    let profile = Profile::start(&cluster, &["--interval", "1"]);
    let mut pgbench = cluster.client("pgbench");
    let script = cluster.dir.join("one.sql");
    std::fs::write(&script, "SELECT 1;\n").expect("the script");
    pgbench.arg("-n").arg("-f").arg(&script).args(["-C", "-c", "8", "-j", "2", "-T", &seconds.to_string()]);
    let mut load = Owned::spawn(pgbench.stdout(std::process::Stdio::piped()), libc::SIGKILL).expect("pgbench");
    // Tables and buffers have their size after some reports.
    std::thread::sleep(Duration::from_secs(6));
    let first = Size::usual(profile.pid());
    let end = Instant::now() + Duration::from_secs(seconds + 60);
    while load.exited().is_none() {
        assert!(Instant::now() < end, "pgbench does not end");
        std::thread::sleep(Duration::from_millis(200));
    }
    let last = Size::usual(profile.pid());
    let mut output = String::new();
    let mut stdout = load.child().stdout.take().expect("stdout");
    std::io::Read::read_to_string(&mut stdout, &mut output).expect("output");
    let reports = profile.stop_all();
    let sent = output.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
    let sent: u64 = sent.expect("pgbench's count").trim().parse().expect("a number");
    let seen: u64 = reports.iter().map(|report| report.statements.count).sum();
    println!("{sent} connections, {first:?} -> {last:?}");
    assert_eq!(seen, sent);
    let lost = |name: &str| reports.iter().map(|report| report.coverage.lost[name]).sum::<u64>();
    for name in reports[0].coverage.lost.keys().filter(|name| *name != "memory_read_failed") {
        assert_eq!(lost(name), 0, "{name}");
    }
    // A page of a process just forked need not be there yet; what hangs on such a read is tried again or asserted above.
    let unread = lost("memory_read_failed");
    assert!(unread * 1000 <= sent, "{unread} reads failed");
    let backends =
        |report: &Report| report.roles.iter().find(|role| role.role == "client backend").map(|r| r.processes);
    let connections: u64 = reports.iter().filter_map(backends).sum();
    assert!(connections >= sent, "{connections} client backends");
    assert_eq!((last.descriptors, last.programs_and_maps), (first.descriptors, first.programs_and_maps));
    assert!(last.rss_kb <= first.rss_kb + 4096, "resident memory grew");
    wait_until("no programs, maps or links are left", || BpfObjects::now().since(&before).is_empty());
}
