//! The fallbacks that this kernel can take count the same as the first choice.

use pgstrobe_tests::*;

#[test]
fn the_syscall_way_counts_exactly() {
    let cluster = quiet_cluster();
    cluster.pgbench_init(1).expect("pgbench -i");
    for mode in ["simple", "extended", "prepared"] {
        let profile = Profile::start(&cluster, &["--only-way", "syscall"]);
        Pgbench::new(&cluster, 4, 500).args(&["-M", mode]).run();
        let report = profile.stop();
        let probe = report.coverage.probes.iter().find(|probe| probe.name == "statement").expect("the probe");
        assert!(probe.hooks.iter().all(|hook| hook.starts_with("tracepoint/syscalls/")), "{:?}", probe.hooks);
        let parses = if mode == "prepared" { 4 } else { 0 };
        assert_eq!(report.statements.count, 4 * 500 + parses, "{mode}");
        assert_nothing_lost(&report);
    }
}

/// Where the last words of a process cannot be taken.
#[test]
fn without_the_named_exit() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &["--only-way", "exit"]);
    psql(&cluster, "SELECT 1");
    let report = profile.stop();
    let probe = report.coverage.probes.iter().find(|probe| probe.name == "lifecycle").expect("the probe");
    assert_eq!(probe.hooks, ["tp_btf/sched_process_fork", "tp_btf/sched_process_exit", "tp_btf/sched_process_exec"]);
    assert!(probe.reason.as_ref().is_some_and(|reason| reason.contains("background workers")), "{:?}", probe.reason);
    assert_eq!(report.statements.count, 1);
    assert_nothing_lost(&report);
}

/// Programs that do nothing are attached and see nothing.
#[test]
fn empty_programs_count_nothing() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &["--empty-programs"]);
    psql(&cluster, "SELECT 1");
    assert_eq!(profile.stop().statements.count, 0);
}

/// What proves the hooks at the beginning is not counted: a probe that never fired says so.
#[test]
fn a_quiet_server_fires_no_statement_probe() {
    /// Other programs of the machine may talk meanwhile, but not always, and the proof would each time.
    const TRIES: usize = 40;
    const FEW: u64 = 64;
    let cluster = quiet_cluster();
    let mut least = u64::MAX;
    for _ in 0..TRIES {
        let report = Profile::start(&cluster, &[]).stop();
        let probe = report.coverage.probes.iter().find(|probe| probe.name == "statement").expect("the probe");
        assert!(probe.attached);
        least = least.min(probe.hits);
        if least < FEW {
            return;
        }
    }
    panic!("{least} hits at the least");
}
