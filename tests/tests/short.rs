//! The short form of what must hold on every kernel and every build: counts, syncs, ledgers, fallbacks, nothing left.
//!
//! `cargo xtask vm` runs this file alone inside virtual machines, ten to twenty times slower than here: little load.

use std::time::{Duration, Instant};

use pgstrobe_tests::*;

#[path = "short/cgroups.rs"]
mod cgroups;
#[path = "short/clocks.rs"]
mod clocks;
#[path = "short/shortage.rs"]
mod shortage;

/// The protocols, with an operator for a class of statements of their own, and clients × statements each.
const MODES: [(&str, char); 3] = [("simple", '+'), ("extended", '-'), ("prepared", '*')];
const CLIENTS: u64 = 2;
const EACH: u64 = 500;

/// 1,000 statements in each protocol under one profile: attaching is what takes longest on a slow machine.
fn load(cluster: &Cluster, profile: Profile) -> Report {
    for (mode, operator) in MODES {
        let script = format!("\\set n random(1, 1000)\nSELECT :n::int {operator} 1;\n");
        let run = Pgbench::new(cluster, CLIENTS, EACH).script(&script).args(&["-M", mode]).run();
        assert_eq!(run.transactions, CLIENTS * EACH);
    }
    profile.stop()
}

/// How many runs of programs the kernel left out; nothing else may be lost.
///
/// A kernel that runs programs with preemption on leaves one out when a task comes in between on the same CPU, often on
/// a slow machine; what `tp_btf` programs miss, their second ones catch, and the number is an upper bound. A read of memory fails where the page is not there at that moment, as in a backend just forked: few
/// do, and what hangs on them is asserted by itself.
fn left_out(report: &Report) -> u64 {
    let mut lost = report.coverage.lost.clone();
    let skipped = lost.remove("programs_skipped").expect("the count of runs that were left out");
    let unread = lost.remove("memory_read_failed").expect("the count of reads that failed");
    assert!(unread <= 3, "{unread} reads failed");
    assert!(lost.values().all(|count| *count == 0), "lost: {lost:?}");
    note("lost", [skipped, unread]);
    skipped
}

/// Equal, or less by no more than what was left out: for what hangs on the tracepoints of system calls, which have no
/// second programs.
fn assert_count(what: &str, seen: u64, expected: u64, left_out: u64) {
    let missing = expected.checked_sub(seen).unwrap_or_else(|| panic!("{what}: {seen}, more than {expected}"));
    // How many the kernel leaves out is the machine's: more, the more that runs beside it. Nearly all must be there, and each that is
    // not must be counted.
    assert!(missing <= left_out && missing * 20 <= expected, "{what}: {seen} of {expected}, {left_out} left out");
}

fn assert_exact(report: &Report) {
    let left_out = left_out(report);
    let statement = report.coverage.probes.iter().find(|probe| probe.name == "statement").expect("the probe");
    let left_out = if statement.hooks[0].starts_with("tracepoint/") { left_out } else { 0 };
    let mut all = 0;
    for (mode, operator) in MODES {
        // pgbench prepares each command of its script once per connection, in an exchange of its own.
        let expected = CLIENTS * EACH + if mode == "prepared" { CLIENTS } else { 0 };
        // A text that could not be read leaves its statement without a class.
        let unread = report.coverage.lost["memory_read_failed"];
        assert_count(mode, calls(report, &format!("{operator} $")), expected, left_out.max(unread));
        all += expected;
    }
    assert_count("statements", report.statements.count, all, left_out);
    assert_eq!(report.statements.errors, 0);
    assert_ledgers_sum(report);
    note_hooks(report);
    // No kernel of the matrix refuses a program; what was not asked for has no hooks and says so.
    for probe in report.coverage.probes.iter().filter(|probe| !probe.attached) {
        assert!(probe.reason.as_ref().is_some_and(|reason| reason.starts_with("not asked for")), "{probe:?}");
    }
    let mut reasons = report.coverage.probes.iter().filter_map(|probe| probe.reason.as_ref());
    assert!(!reasons.any(|reason| reason.contains("refuses")), "{:#?}", report.coverage.probes);
}

fn assert_ledgers_sum(report: &Report) {
    let of_backends = report.backends.iter().flat_map(|backend| [&backend.ledger, &backend.outside]);
    let of_queries = report.queries.iter().map(|query| &query.ledger);
    for ledger in of_backends.chain(of_queries).chain([&report.statements.ledger]) {
        assert_eq!(ledger.parts.iter().map(|part| part.ns).sum::<u64>(), ledger.wall_ns, "{ledger:?}");
    }
    assert!(report.statements.ledger.wall_ns > 0);
    let accounts = report.backends.iter().flat_map(|b| [&b.ledger, &b.outside, &b.startup]);
    let (mut wall, mut unattributed) = (0, 0);
    for account in accounts {
        wall += account.wall_ns;
        unattributed += time_of(account, "unattributed");
    }
    note("unattributed", [unattributed, wall]);
    // Where programs run with preemption on, a switch may come in the middle of an account: often in these slow machines.
    let preempted = report.coverage.probes.iter().flat_map(|probe| &probe.hooks).any(|hook| hook.ends_with("(again)"));
    let parts = if preempted { 200 } else { 1000 };
    assert!(unattributed * parts <= wall, "{unattributed} of {wall} ns are in no part");
}

#[test]
fn statements() {
    let cluster = quiet_cluster();
    assert_exact(&load(&cluster, Profile::start(&cluster, &[])));
}

#[test]
fn statements_by_entry() {
    let cluster = quiet_cluster();
    let report = load(&cluster, Profile::start(&cluster, &["--boundary", "uprobe"]));
    assert_exact(&report);
    assert_eq!(report.clusters[0].boundary, "uprobe");
}

/// Whether the kernel has a tracepoint, asked of tracefs in a mount namespace that ends with the question.
fn has_tracepoint(name: &str) -> bool {
    let mount = "test -d /sys/kernel/tracing/events || mount -t tracefs tracefs /sys/kernel/tracing";
    let test = format!("{mount}; test -d /sys/kernel/tracing/events/{name}");
    std::process::Command::new("unshare").args(["-m", "sh", "-c", &test]).status().expect("unshare").success()
}

/// Every way of the probe of statements counts the same, where the kernel has it; where not, the reason is the right one.
fn by_way(way: &str, first_hook: &str, excuse: impl Fn(&str) -> bool) {
    let cluster = quiet_cluster();
    let report = load(&cluster, Profile::start(&cluster, &["--only-way", way]));
    let probe = report.coverage.probes.iter().find(|probe| probe.name == "statement").expect("the probe");
    if !probe.attached {
        let reason = probe.reason.as_deref().expect("a reason");
        assert!(excuse(reason) && report.statements.count == 0, "{way} is not attached: {reason}");
        skip!("{way}: {}", reason.split("; without it").next().unwrap_or_default());
    }
    assert!(probe.hooks[0].starts_with(first_hook), "{:?}", probe.hooks);
    assert_exact(&report);
}

#[test]
fn way_tp_btf() {
    by_way("tp_btf", "tp_btf/sock_recv_length", |reason| {
        reason.contains("no such tracepoint") && !has_tracepoint("sock/sock_recv_length")
    });
}

/// A kernel without function tracing refuses a trampoline to every program; in another one the compiler may have copied
/// the functions into their callers, which is no loss where the tracepoints are.
#[test]
fn way_fexit() {
    by_way("fexit", "fexit/sock_recvmsg", |reason| {
        reason.contains("fexit/sock_recvmsg: ")
            || reason.contains("does not pass through") && has_tracepoint("sock/sock_recv_length")
    });
}

#[test]
fn way_syscall() {
    by_way("syscall", "tracepoint/syscalls/", |_| false);
}

/// A commit's sync has its backend and its file, and a wait is where it belongs.
#[test]
fn commits_and_sleeps() {
    const COMMITS: u64 = 200;
    let cluster = quiet_cluster();
    psql(&cluster, "CREATE TABLE t (a int)");
    let profile = Profile::start(&cluster, &[]);
    let run = Pgbench::new(&cluster, 1, COMMITS).script("INSERT INTO t VALUES (1);\n").run();
    psql(&cluster, "SELECT pg_sleep(0.5)");
    note("attached after ms", profile.attach_time.as_millis() as u64);
    let report = profile.stop();
    let left_out = left_out(&report);
    assert_eq!(run.transactions, COMMITS);
    assert_eq!(report.statements.count, COMMITS + 1, "statements, {left_out} programs left out");
    let commits: Vec<_> = report.fsync.by.iter().filter(|row| row.role == "client backend").collect();
    assert!(commits.iter().all(|row| row.file_kind == "wal" && row.file.starts_with("pg_wal/0")), "{commits:?}");
    assert_count("commits", commits.iter().map(|row| row.count).sum(), COMMITS, left_out);
    assert_eq!(report.fsync.errors, 0);

    let sleep = queries(&report, "pg_sleep")[0];
    let parts = sleep.ledger.parts.iter().filter(|part| part.wait_event.as_deref() == Some("PgSleep"));
    let slept: u64 = parts.map(|part| part.ns).sum();
    // The timer of a slow machine fires late, never early.
    assert!(slept > 490_000_000 && slept <= sleep.ledger.wall_ns, "{slept}");
    assert_ledgers_sum(&report);
}

/// Several statements under one Sync are told by the buffer of the call that received them.
#[test]
fn batches() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let script = "\\startpipeline\nSELECT 1;\nSELECT 2;\n\\endpipeline\n";
    Pgbench::new(&cluster, 1, 50).script(script).args(&["-M", "extended"]).run();
    let report = profile.stop();
    assert_eq!((report.statements.count, report.statements.batches), (50, 50));
}

/// Two causes made on purpose are what the report says first.
#[test]
fn planted_causes() {
    let cluster = quiet_cluster();
    psql(&cluster, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let profile = Profile::start(&cluster, &[]);
    psql(&cluster, "SELECT pg_sleep(2)");
    let report = profile.stop();
    assert_largest(&report.statements.ledger, &["Timeout:PgSleep"]);
    assert_first(&report, "sleep");
    assert_ledgers_sum(&report);

    let (mut holder, mut waiter) = (Client::connect(&cluster, "holder"), Client::connect(&cluster, "waiter"));
    let pid = holder.ask("SELECT pg_backend_pid()");
    let profile = Profile::start(&cluster, &[]);
    holder.ask("BEGIN");
    holder.ask("UPDATE t SET a = 2");
    waiter.send("UPDATE t SET a = 3");
    std::thread::sleep(Duration::from_secs(2));
    holder.ask("COMMIT");
    waiter.answer();
    let report = profile.stop();
    assert_largest(&report.statements.ledger, &["Lock:transactionid"]);
    let first = assert_first(&report, "idle_in_transaction_lock");
    assert!(first.evidence.join("\n").contains(&pid), "{pid}: {first:#?}");
    assert_ledgers_sum(&report);
}

/// A CPU quota of cgroup version 2, against what the group itself says; `causes_cpu.rs` has that of version 1.
#[test]
fn a_cpu_quota_of_version_2() {
    if !own_machine() {
        skip!("the hierarchy of the CPU controller is a host's own matter: this runs in the virtual machines");
    }
    let cluster = quiet_cluster();
    let limit = Cgroup::new("cpu").expect("a cgroup with the CPU controller");
    assert!(limit.is_v2());
    limit.add(&cluster.pids());
    limit.limit_cpu(20);
    let profile = Profile::start(&cluster, &[]);
    let before = limit.throttled();
    psql(&cluster, "SET max_parallel_workers_per_gather = 0; SELECT count(*) FROM generate_series(1, 500000)");
    let after = limit.throttled();
    let report = profile.stop();
    let (periods, throttled) = (after.0 - before.0, after.1 - before.1);
    let parts = report.statements.ledger.parts.iter().filter(|part| part.cause.as_deref() == Some("cpu_quota"));
    let quota: u64 = parts.map(|part| part.ns).sum();
    println!("held back in {periods} periods for {throttled} ns; in statements {quota} ns");
    assert!(periods > 5, "{periods} periods");
    assert_largest(&report.statements.ledger, &["runnable"]);
    // The backend's start and end, and other processes of the server, are held back too.
    assert!(quota <= throttled + throttled / 50 && quota > throttled / 2, "{quota} ns, the group says {throttled} ns");
    assert_first(&report, "cpu_quota");
    assert_ledgers_sum(&report);
}

#[test]
fn doctor_names_the_cluster() {
    let cluster = quiet_cluster();
    let done = refused(pgstrobe().arg("doctor"));
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    for part in [&cluster.pid().to_string(), &cluster.port.to_string(), &cluster.data.display().to_string()] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    note("doctor", &done.stdout);
}

/// Requests of a block device, as the kernel's own statistics have them.
#[test]
fn block_requests() {
    let disk = match LoopDisk::new(64, "none") {
        Ok(disk) => disk,
        Err(reason) => skip!("no loop device: {reason}"),
    };
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    let before = disk.stat();
    use_disk(&disk, 2, 40);
    let expected = disk.stat().since(before);
    let report = profile.stop();
    let seen = report.storage.block.devices.iter().find(|device| device.device == disk.name).expect("the device");
    let left_out = left_out(&report);
    assert!(expected.reads >= 80 && expected.writes >= 80 && expected.flushes > 0, "{expected:?}");
    assert_count("reads", seen.read.requests, expected.reads, left_out);
    assert_count("writes", seen.write.requests + seen.sync.requests, expected.writes, left_out);
    assert_count("flushes", seen.flush.requests, expected.flushes, left_out);
    assert_count("discards", seen.discard.requests, expected.discards, left_out);
    if left_out == 0 {
        let bytes = (seen.read.bytes, seen.write.bytes, seen.discard.bytes);
        assert_eq!(bytes, (expected.read_bytes, expected.written_bytes, expected.discarded_bytes));
        assert_eq!(seen.sync.requests, 8, "each fdatasync is one");
        assert_eq!(seen.read.device_time.count, expected.reads, "every read's issue was seen");
    }
}

/// The same requests one by one.
#[test]
fn traced_requests() {
    let disk = match LoopDisk::new(64, "none") {
        Ok(disk) => disk,
        Err(reason) => skip!("no loop device: {reason}"),
    };
    let cluster = quiet_cluster();
    let trace = Trace::start(&cluster, "trace", &["--all", "--device", &disk.name]);
    let before = disk.stat();
    use_disk(&disk, 2, 40);
    let expected = disk.stat().since(before);
    let traced = trace.stop();
    let (seen, end) = (traced.stat(&disk.name), traced.end);
    let left_out = left_out(&Report { coverage: end.coverage, ..Report::default() });
    assert!(expected.reads >= 80 && expected.writes >= 80 && expected.flushes > 0, "{expected:?}");
    assert_count("reads", seen.reads, expected.reads, left_out);
    assert_count("writes", seen.writes, expected.writes, left_out);
    assert_count("flushes", seen.flushes, expected.flushes, left_out);
    assert_count("discards", seen.discards, expected.discards, left_out);
    if left_out == 0 {
        assert_eq!(seen, expected, "bytes too");
        let reads = || traced.requests.iter().filter(|one| one.operation == "read");
        assert!(reads().all(|one| one.device_ns.is_some() && one.owner.pid == Some(std::process::id())));
    }
}

#[test]
fn nothing_is_left_behind() {
    let cluster = quiet_cluster();
    for killed in [false, true] {
        let before = BpfObjects::now();
        let profile = Profile::start(&cluster, &[]);
        let own = BpfObjects::now().since(&before);
        assert!(own.count("program") > 0 && own.count("map") > 0, "{own:?}");
        match killed {
            true => drop(profile.kill()),
            false => drop(profile.stop()),
        }
        // The kernel frees programs after a grace period.
        let end = Instant::now() + Duration::from_secs(20);
        while !BpfObjects::now().both(&own).is_empty() {
            assert!(Instant::now() < end, "left behind: {:?}", BpfObjects::now().both(&own));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// pgstrobe in a mount namespace of its own, in which the kernel does not show its types.
#[test]
fn without_type_information() {
    let cluster = quiet_cluster();
    let (types, nothing) = (cluster.dir.join("vmlinux"), cluster.dir.join("nothing"));
    std::fs::copy("/sys/kernel/btf/vmlinux", &types).expect("the kernel's types");
    std::fs::create_dir(&nothing).expect("an empty directory");
    let hidden = || {
        let mut command = std::process::Command::new("unshare");
        let script = format!("mount --bind {} /sys/kernel/btf && exec \"$0\" \"$@\"", nothing.display());
        command.args(["-m", "sh", "-c", &script]).arg(pgstrobe().get_program());
        command
    };
    let pid = cluster.pid().to_string();
    let refusal = refused(hidden().args(["report", "-d", "1", "--pid", &pid]));
    assert_eq!(refusal.code, Some(4), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("--btf FILE"), "{}", refusal.stderr);
    let doctor = refused(hidden().arg("doctor"));
    assert_eq!(doctor.code, Some(4), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("--btf FILE"), "{}", doctor.stdout);

    let types = types.display().to_string();
    let profile = Profile::start_by(hidden(), &cluster, &["--btf", &types]);
    psql(&cluster, "SELECT 1");
    let report = profile.stop();
    assert_eq!(report.statements.count, 1, "{} programs left out", left_out(&report));
    assert!(!report.host.btf);
}

/// Whether this machine is there for the tests alone, so that they may spoil it.
fn own_machine() -> bool {
    std::env::var_os("PGSTROBE_OWN_MACHINE").is_some()
}

/// The kernel forbids programs to read memory, for good: the last test of this machine.
#[test]
fn zero_reads_under_lockdown() {
    const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
    if !own_machine() {
        skip!("lockdown ends with the machine: this runs in the virtual machines");
    }
    if !std::path::Path::new(LOCKDOWN).exists() {
        skip!("this kernel has no lockdown");
    }
    let cluster = quiet_cluster();
    std::fs::write(LOCKDOWN, "confidentiality").expect("lockdown");
    let refusal = refused(pgstrobe().args(["report", "-d", "1", "--pid", &cluster.pid().to_string()]));
    assert_eq!(refusal.code, Some(4), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("lockdown=integrity") && refusal.stderr.lines().count() == 1, "{}", refusal.stderr);
    let doctor = refused(pgstrobe().arg("doctor"));
    assert_eq!(doctor.code, Some(4), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("lockdown=integrity"), "{}", doctor.stdout);
}
