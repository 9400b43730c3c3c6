//! A server that is upgraded during the profile: another executable under the same name, another major version.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pgstrobe_tests::*;

/// A tree of an installation of the test's own, which its server may be replaced in.
struct Tree {
    bin: PathBuf,
    _temp: tempfile::TempDir,
}

impl Tree {
    fn copy(server: &Server) -> Self {
        let temp = tempfile::Builder::new().prefix("pgstrobe-tree-").tempdir_in("/var/tmp").expect("a directory");
        std::fs::set_permissions(temp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
        let native = server.bin_dir.parent().expect("a tree");
        run(Command::new("cp").arg("-a").arg(native).arg(temp.path().join("pg")));
        Self { bin: temp.path().join("pg/bin"), _temp: temp }
    }

    /// As a package manager does it: a new file takes the name.
    fn replace_server(&self) {
        let (old, new) = (self.bin.join("postgres"), self.bin.join("postgres.new"));
        run(Command::new("cp").arg("-a").arg(&old).arg(&new));
        std::fs::rename(new, old).expect("rename");
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn note_of<'a>(report: &'a Report, part: &str) -> &'a str {
    let notes: Vec<&String> = report.coverage.notes.iter().filter(|note| note.contains(part)).collect();
    assert_eq!(notes.len(), 1, "{part}: {:?}", report.coverage.notes);
    notes[0]
}

/// A successor is no child of a known postmaster: it is told by its executable.
fn found_by_now() {
    std::thread::sleep(Duration::from_secs(2));
}

fn replaced(boundary: &str) {
    let server = match Build::named("npm-15").expect("a build").provide() {
        Ok(server) => server,
        Err(error) => skip!("npm-15: {error:#}"),
    };
    let tree = Tree::copy(&server);
    let mut cluster = cluster(ClusterOptions { bin_dir: Some(tree.bin.clone()), ..ClusterOptions::with(QUIET) });
    let profile = Profile::start(&cluster, &["--boundary", boundary]);
    psql(&cluster, "SELECT 'before'");
    tree.replace_server();
    let exe = std::fs::read_link(format!("/proc/{}/exe", cluster.pid())).expect("exe");
    assert!(exe.to_string_lossy().ends_with(" (deleted)"), "{}", exe.display());
    psql(&cluster, "SELECT 'replaced, and the old one runs on'");
    cluster.restart().expect("restart");
    found_by_now();
    psql(&cluster, "SELECT 'the new one'");
    let report = profile.stop();
    assert_eq!(report.clusters[0].restarts, 1, "{:?}", report.coverage.notes);
    let note = note_of(&report, "executable was replaced");
    assert!(note.contains("PostgreSQL 15.") && note.contains("as before"), "{note}");
    match boundary {
        // No trap, nothing to miss.
        "socket" => {
            assert_eq!(calls(&report, "SELECT $1"), 3);
            assert!(!note.contains("traps"), "{note}");
        }
        _ => {
            assert!(calls(&report, "SELECT $1") >= 2, "before the restart");
            assert!(note.contains("the traps are in the old one"), "{note}");
        }
    }
    assert_nothing_lost(&report);
}

#[test]
fn its_executable_is_replaced() {
    replaced("socket");
}

#[test]
fn its_executable_is_replaced_under_traps() {
    replaced("uprobe");
}

/// A cluster of another major version than that of this machine.
fn another_major(settings: &[&str]) -> Option<Result<Cluster, String>> {
    let server = match Build::named("npm-16")?.provide() {
        Ok(server) => server,
        Err(error) => return Some(Err(format!("npm-16: {error:#}"))),
    };
    Some(Ok(cluster(ClusterOptions { bin_dir: Some(server.bin_dir), ..ClusterOptions::with(settings) })))
}

/// Another cluster, with another data directory, takes the port: as after `pg_upgradecluster`.
#[test]
fn another_major_version_on_the_same_port() {
    let mut old = quiet_cluster();
    let profile = Profile::start(&old, &[]);
    psql(&old, "SELECT 'before'");
    old.stop();
    let port = format!("port = {}", old.port);
    let mut new = match another_major(&[QUIET, &[port.as_str()]].concat()).expect("a build") {
        Ok(new) => new,
        Err(reason) => skip!("{reason}"),
    };
    new.port = old.port;
    found_by_now();
    psql(&new, "SELECT 'after'");
    let report = profile.stop();
    let note = note_of(&report, "another cluster came in its place");
    assert!(note.contains("PostgreSQL 16.") && note.contains(&format!("port {}", old.port)), "{note}");
    note_of(&report, "ended");
    assert_eq!((report.statements.count, report.clusters[0].restarts), (1, 0), "what was before, and no more");
    assert_eq!(report.clusters[0].postmaster_pid, profile_pid(&report), "{:?}", report.clusters);
    assert_nothing_lost(&report);
}

/// The pid that the notes name.
fn profile_pid(report: &Report) -> u32 {
    let note = note_of(report, "the postmaster (pid ");
    let (_, rest) = note.split_once("(pid ").expect("a pid");
    rest.split(')').next().and_then(|pid| pid.parse().ok()).expect("a pid")
}

/// Another major version in the very same directory: it has another layout, other wait events and types, and so a report of
/// its own.
#[test]
fn another_major_version_in_the_same_directory() {
    let mut old = quiet_cluster();
    let mut new = match another_major(QUIET).expect("a build") {
        Ok(new) => new,
        Err(reason) => skip!("{reason}"),
    };
    new.stop();
    let profile = Profile::start(&old, &[]);
    psql(&old, "SELECT 'before'");
    let gone = old.pid();
    old.stop();
    empty(&old.data);
    move_all(&new.data, &old.data);
    // Its socket and its port are those of its configuration.
    old.bin = new.bin.clone();
    old.launch().expect("the new version in the old directory");
    found_by_now();
    psql(&new, "SELECT 'after', 2");
    let all = profile.stop_of_all();
    let [before, after] = &all.reports[..] else { panic!("{} reports", all.reports.len()) };
    let note = note_of(before, "came back as PostgreSQL 16.");
    assert!(note.contains("it was 15.") && note.contains(&format!("pid {}", old.pid())), "{note}");
    assert_eq!((before.statements.count, before.clusters[0].restarts), (1, 0), "what was before, and no more");
    assert_eq!(before.clusters[0].postmaster_pid, gone);
    assert!(before.clusters[0].version.starts_with("15."), "{:?}", before.clusters);
    note_of(after, "was found");
    assert_eq!((after.statements.count, calls(after, "SELECT $1, $2")), (1, 1));
    assert_eq!(after.clusters[0].postmaster_pid, old.pid());
    assert!(after.clusters[0].version.starts_with("16."), "{:?}", after.clusters);
    all.reports.iter().for_each(assert_nothing_lost);
}

fn empty(dir: &Path) {
    run(Command::new("find").arg(dir).args(["-mindepth", "1", "-delete"]));
}

fn move_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        std::fs::rename(entry.path(), to.join(entry.file_name())).expect("rename");
    }
}
