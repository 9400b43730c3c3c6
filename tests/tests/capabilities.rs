//! Each capability that is missing is named; what is not mounted stays so.

use std::process::Command;
use std::time::Duration;

use pgstrobe_tests::*;

/// pgstrobe in a shell of its own, with `wrap` around it.
fn wrapped(cluster: &Cluster, wrap: &[&str]) -> Refusal {
    let mut command = Command::new(wrap[0]);
    command.args(&wrap[1..]).arg(pgstrobe().get_program());
    refused(command.args(["report", "-d", "0.5", "--pid", &cluster.pid().to_string(), "-o", "-"]))
}

/// CAP_SYS_ADMIN stands for the first two, so it is dropped with them.
#[test]
fn each_one_is_named() {
    if !installed("setpriv") {
        skip!("setpriv is not installed");
    }
    let cluster = quiet_cluster();
    psql(&cluster, "SELECT 1");
    for (drop, named) in [
        ("-bpf,-sys_admin", "CAP_BPF"),
        ("-perfmon,-sys_admin", "CAP_PERFMON"),
        ("-sys_ptrace", "CAP_SYS_PTRACE"),
        ("-all", "CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE"),
    ] {
        let refusal = wrapped(&cluster, &["setpriv", "--bounding-set", drop, "--inh-caps", drop]);
        assert_eq!(refusal.code, Some(4), "{drop}: {}", refusal.stderr);
        assert_eq!(refusal.stderr.lines().count(), 1, "{drop}: {}", refusal.stderr);
        assert!(refusal.stderr.contains(&format!("needs {named} ")), "{drop}: {}", refusal.stderr);
        assert_eq!(refusal.stdout, "", "{drop}");
    }
}

/// Every other capability alone: either it does without, or it says in one sentence what it cannot.
#[test]
fn all_others_one_by_one() {
    if !installed("setpriv") {
        skip!("setpriv is not installed");
    }
    let cluster = quiet_cluster();
    let names = ["sys_admin", "dac_read_search", "dac_override", "sys_resource", "syslog", "setuid", "ipc_lock"];
    for name in names {
        let drop = format!("-{name}");
        let done = wrapped(&cluster, &["setpriv", "--bounding-set", &drop, "--inh-caps", &drop]);
        println!("{name}: {:?} {}", done.code, done.stderr);
        assert!(!done.stderr.contains("panicked"), "{name}: {}", done.stderr);
        match done.code {
            Some(0) => assert!(done.stdout.contains("lost: 0"), "{name}: {}", done.stdout),
            Some(4) => {
                assert_eq!(done.stderr.lines().count(), 1, "{name}: {}", done.stderr);
                assert!(done.stderr.contains("CAP_"), "{name}: {}", done.stderr);
            }
            code => panic!("{name}: exit code {code:?}: {}", done.stderr),
        }
    }
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mounts").expect("mounts")
}

#[test]
fn tracefs_is_mounted_for_itself_alone() {
    let cluster = quiet_cluster();
    let before = mounts();
    let hide = "umount -l /sys/kernel/tracing 2>/dev/null; umount -l /sys/kernel/debug 2>/dev/null; exec \"$@\"";
    let done = wrapped(&cluster, &["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, "sh"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let fsync = done.stdout.lines().find(|line| line.starts_with(" fsync ")).expect("the probe");
    assert!(!fsync.contains("not attached"), "{fsync}");
    // And as seen by others while it runs.
    let profile = Profile::start(&cluster, &[]);
    assert_eq!(mounts(), before);
    std::thread::sleep(Duration::from_millis(200));
    profile.stop();
    assert_eq!(mounts(), before);
}

/// Where the mount is forbidden too, the report says what it cannot show.
#[test]
fn without_tracefs_it_says_so() {
    let cluster = quiet_cluster();
    // CAP_BPF and CAP_PERFMON are enough to profile; mounting takes CAP_SYS_ADMIN.
    let hide = "umount -l /sys/kernel/tracing 2>/dev/null; umount -l /sys/kernel/debug 2>/dev/null; \
                exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin \"$@\"";
    let done = wrapped(&cluster, &["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, "sh"]);
    println!("{}\n{}", done.stderr, done.stdout);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    match done.code {
        Some(0) => {
            let fsync = done.stdout.lines().find(|line| line.starts_with(" fsync ")).expect("the probe");
            assert!(fsync.contains("not attached") && done.stdout.contains("tracefs not found"), "{}", done.stdout);
            // The same capability switches on the kernel's statistics.
            assert!(done.stdout.contains("cost is not measured"), "{}", done.stdout);
        }
        Some(4) => assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr),
        code => panic!("{code:?}: {}", done.stderr),
    }
}

/// Without CAP_SYSLOG the kernel may hide where its functions are; doctor says what that costs, and so does a report on a
/// sleep that only the kernel's stack explains.
#[test]
fn hidden_kernel_symbols() {
    if !installed("setpriv") {
        skip!("setpriv is not installed");
    }
    // Where everybody may profile the kernel, everybody sees its symbols (`kallsyms_show_value`, kernel/ksyms_common.c).
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").expect("perf_event_paranoid");
    if level.trim().parse::<i32>().expect("a number") <= 1 {
        skip!("perf_event_paranoid is {}: symbols are shown to all", level.trim());
    }
    let group = match Cgroup::new("freezer") {
        Ok(group) if !group.is_v2() => group,
        Ok(_) => skip!("of a freezer of version 2 the task itself tells"),
        Err(reason) => skip!("{reason}"),
    };
    let unprivileged = || {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-syslog", "--inh-caps", "-syslog"]).arg(pgstrobe().get_program());
        command
    };
    let text = refused(unprivileged().arg("doctor")).stdout;
    assert!(text.contains("MISSING kernel symbols: hidden;") && text.contains("CAP_SYSLOG"), "{text}");

    let cluster = quiet_cluster();
    let mut client = Client::connect(&cluster, "frozen");
    let backend = client.backend(&cluster);
    group.add(&[backend]);
    let profile = Profile::start_by(unprivileged(), &cluster, &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let idle = cpu_ns(backend);
            wait_until("the backend computes", || cpu_ns(backend) > idle + 30_000_000);
            group.freeze(true);
            wait_until("the backend stands still", || group.is_frozen() && sleeps_in(backend).is_some());
            std::thread::sleep(Duration::from_millis(300));
            group.freeze(false);
        });
        client.ask("SELECT count(*) FROM generate_series(1, 3000000)");
    });
    let report = profile.stop();
    let notes = &report.coverage.notes;
    assert!(notes.iter().any(|note| note.contains("hidden from pgstrobe") && note.contains("CAP_SYSLOG")), "{notes:?}");
    let parts = &report.statements.ledger.parts;
    let asleep = parts.iter().filter(|part| part.state == "blocked");
    assert!(asleep.clone().map(|part| part.ns).sum::<u64>() >= 250_000_000, "{parts:?}");
    assert!(asleep.into_iter().all(|part| part.cause.as_deref() != Some("frozen")), "{parts:?}");
}
