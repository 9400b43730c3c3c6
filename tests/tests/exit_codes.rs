//! What pgstrobe says and returns when it cannot, and that it leaves nothing behind however it ends.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use pgstrobe_tests::*;

#[test]
fn usage() {
    for args in [&["report", "--level", "bogus"][..], &["report", "--no-such-flag"], &["no-such-command"]] {
        let refusal = refused(pgstrobe().args(args));
        assert_eq!(refusal.code, Some(2), "{args:?}: {}", refusal.stderr);
    }
}

#[test]
fn no_cluster() {
    let own = std::process::id().to_string();
    for choice in [["--pid", &own], ["--port", "1"], ["--data-directory", "/nonexistent"], ["--container", "ffff"]] {
        let refusal = refused(pgstrobe().args(["report", "-d", "1"]).args(choice));
        assert_eq!(refusal.code, Some(3), "{choice:?}: {}", refusal.stderr);
        assert!(!refusal.stderr.trim().is_empty(), "says what it looked for");
        assert!(!refusal.stderr.contains("panicked"), "{}", refusal.stderr);
    }
}

#[test]
fn several_clusters() {
    let (one, two) = (quiet_cluster(), quiet_cluster());
    let lists = |said: &str| {
        for cluster in [&one, &two] {
            assert!(said.contains(&cluster.pid().to_string()), "lists pid {}: {said}", cluster.pid());
            assert!(said.contains(&cluster.data.display().to_string()), "lists {}: {said}", cluster.data.display());
        }
    };
    // A trace is of one of them.
    let refusal = refused(pgstrobe().args(["trace", "-d", "1"]));
    assert_eq!(refusal.code, Some(3), "{}", refusal.stderr);
    lists(&(refusal.stderr + &refusal.stdout));
    // Reports are of all, with or without the word.
    for all in [&["report", "-d", "1", "-o", "-", "-o", "json"][..], &["report", "-d", "1", "--all"]] {
        let done = refused(pgstrobe().args(all).env("COLUMNS", "200"));
        assert_eq!(done.code, Some(0), "{all:?}: {}", done.stderr);
        assert!(done.stderr.contains(" PostgreSQL servers"), "{}", done.stderr);
        for cluster in [&one, &two] {
            let ranked = |line: &str| line.contains(&format!(" {} ", cluster.port));
            assert!(done.stdout.lines().any(ranked), "port {}: {}", cluster.port, done.stdout);
        }
        assert_eq!(done.stdout.contains("pgstrobe.reports/1"), all.contains(&"json"));
    }
    let refusal = refused(pgstrobe().args(["report", "-d", "1", "--all", "--pid", "1"]));
    assert_eq!(refusal.code, Some(2), "{}", refusal.stderr);
}

#[test]
fn each_way_to_choose_one() {
    let (one, _other) = (quiet_cluster(), quiet_cluster());
    let (pid, port, data) = (one.pid().to_string(), one.port.to_string(), one.data.display().to_string());
    for choice in [["--pid", &pid], ["--port", &port], ["--data-directory", &data]] {
        let done = refused(pgstrobe().args(["report", "-d", "1", "-o", "-"]).args(choice));
        assert_eq!(done.code, Some(0), "{choice:?}: {}", done.stderr);
        assert!(!done.stdout.is_empty());
    }
}

#[test]
fn without_privilege() {
    let cluster = quiet_cluster();
    let (uid, gid) = user("nobody").expect("nobody");
    // The build directory may be closed to others.
    let binary = cluster.dir.join("pgstrobe");
    std::fs::copy(pgstrobe().get_program(), &binary).expect("copy");
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let mut command = std::process::Command::new(binary);
    command.args(["report", "-d", "1", "--pid", &cluster.pid().to_string()]).uid(uid).gid(gid);
    let refusal = refused(command.current_dir("/"));
    assert_eq!(refusal.code, Some(4), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("root") || refusal.stderr.contains("CAP_"), "{}", refusal.stderr);
}

#[test]
fn interrupted_it_prints_the_report() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &[]);
    psql(&cluster, "SELECT 1");
    // `stop` is SIGINT, and asserts exit code 0.
    assert_eq!(profile.stop().statements.count, 1);
}

#[test]
fn killed_it_leaves_nothing() {
    let cluster = quiet_cluster();
    for boundary in ["socket", "uprobe"] {
        let before = BpfObjects::now();
        let profile = Profile::start(&cluster, &["--boundary", boundary]);
        let own = BpfObjects::now().since(&before);
        assert!(own.count("program") > 0 && own.count("map") > 0, "{own:?}");
        profile.kill();
        // The kernel frees programs after a grace period.
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let left = BpfObjects::now().both(&own);
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < end, "left behind ({boundary}): {left:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        psql(&cluster, "SELECT 1");
    }
}

#[test]
fn doctor_and_probes() {
    let _cluster = quiet_cluster();
    for command in ["doctor", "probes"] {
        let done = refused(pgstrobe().arg(command));
        assert_eq!(done.code, Some(0), "{command}: {}", done.stderr);
        assert!(!done.stdout.is_empty());
    }
}
