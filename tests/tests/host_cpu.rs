//! Who used the host's CPUs, against what the scheduler says of the same processes.

use std::process::{Command, Stdio};
use std::time::Duration;

use pgstrobe_tests::*;
use xtask::children::Owned;

#[test]
fn a_busy_stranger_is_named() {
    let cluster = quiet_cluster();
    let mut busy = Command::new("sh");
    busy.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
    let busy = Owned::spawn(&mut busy, libc::SIGKILL).expect("sh");
    let pid = busy.id();
    let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    wait_until("the loop runs", || name().trim() == "sh" && cpu_ns(pid) > 50_000_000);
    // It stands still while pgstrobe looks at it and the witness does: both see the same.
    let stop = || {
        busy.signal(libc::SIGSTOP);
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        wait_until("the loop stands still", || state().contains(") T "));
    };
    stop();
    let profile = Profile::start(&cluster, &["--interval", "2"]);
    let before = cpu_ns(pid);
    busy.signal(libc::SIGCONT);
    std::thread::sleep(Duration::from_millis(3_500));
    stop();
    let after = cpu_ns(pid);
    let reports = profile.stop_all();
    assert_eq!(reports.len(), 2, "reports");
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let mut seen = 0;
    for report in &reports {
        let cpu = &report.host.cpu;
        let ours = cpu.others.iter().find(|other| other.pid == pid).expect("the loop");
        assert_eq!(ours.name, "sh");
        assert!(ours.cpu_ns <= report.duration_ns + 20_000_000, "one thread: {} ns", ours.cpu_ns);
        assert!(cgroup.lines().any(|line| line.rsplit('/').next() == Some(&ours.cgroup)), "{cgroup}: {ours:?}");
        // On a machine that others use as well one of them may have used more.
        let (first, used) = (&cpu.others[0], cpu.total_ns.saturating_sub(cpu.idle_ns + cpu.cluster_ns));
        assert!(first.pid == pid || ours.cpu_ns <= used / 2, "{:?} of {used} ns", cpu.others);
        assert!(cpu.others.len() <= 10 && cpu.others.is_sorted_by(|a, b| a.cpu_ns >= b.cpu_ns), "{:?}", cpu.others);
        let used = ours.cpu_ns + cpu.cluster_ns + cpu.idle_ns;
        assert!(used <= cpu.total_ns + cpu.total_ns / 50, "{used} of {}", cpu.total_ns);
        seen += ours.cpu_ns;
    }
    // The clock of /proc counts in hundredths of a second, for user and system time, and is read three times.
    let cpu = after - before;
    println!("{seen} ns by the report, {cpu} ns by schedstat");
    assert!(seen.abs_diff(cpu) <= 40_000_000, "{seen} ns, schedstat {cpu} ns");
}

/// The cluster's own share, with a backend that ended, agrees with the ledgers, which are taken by other means.
#[test]
fn the_cluster_is_apart_and_complete() {
    let cluster = quiet_cluster();
    let mut stays = Client::connect(&cluster, "stays");
    let profile = Profile::start(&cluster, &[]);
    stays.ask("SELECT count(*) FROM generate_series(1, 3000000)");
    psql(&cluster, "SELECT count(*) FROM generate_series(1, 3000000)");
    let report = profile.stop();
    let ledgers = report.backends.iter().flat_map(|backend| [&backend.ledger, &backend.outside]);
    let parts = ledgers.flat_map(|ledger| &ledger.parts).filter(|part| part.state == "cpu");
    let cpu: u64 = parts.map(|part| part.ns).sum();
    let cluster_ns = report.host.cpu.cluster_ns;
    // 2 %, and the clock of /proc for each process.
    let slack = cpu / 50 + 20_000_000 * report.backends.len() as u64;
    println!("{cluster_ns} ns by /proc, {cpu} ns by the ledgers, {slack} ns of slack");
    assert!(cluster_ns.abs_diff(cpu) <= slack, "{cluster_ns} ns, the ledgers say {cpu} ns");
    let own: Vec<u32> = report.backends.iter().map(|backend| backend.pid).collect();
    assert!(!report.host.cpu.others.iter().any(|other| own.contains(&other.pid)), "{:?}", report.host.cpu.others);
}
