//! Where the report goes, and what is said when it cannot go there: before the profile where that can be known, and
//! without losing what was measured where it cannot.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pgstrobe_tests::*;
use xtask::children::Owned;

fn report(cluster: &Cluster, seconds: &str) -> std::process::Command {
    let mut command = pgstrobe();
    command.args(["report", "--pid", &cluster.pid().to_string(), "-d", seconds]);
    command
}

/// Runs a line of shell in a mount namespace of its own; `$0` is a directory, `$1` pgstrobe, `$2` the postmaster.
fn in_own_mounts(cluster: &Cluster, dir: &Path, line: &str) -> Refusal {
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", line]).arg(dir);
    refused(command.arg(pgstrobe().get_program()).arg(cluster.pid().to_string()))
}

fn assert_one_sentence(refusal: &Refusal, code: i32, said: &str) {
    assert_eq!(refusal.code, Some(code), "{}", refusal.stderr);
    assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
    assert!(refusal.stderr.starts_with("pgstrobe: ") && refusal.stderr.contains(said), "{said}: {}", refusal.stderr);
}

#[test]
fn what_cannot_be_written_is_refused_before_the_profile() {
    let cluster = quiet_cluster();
    let temp = tempfile::tempdir().expect("a directory");
    let at = |name: &str| temp.path().join(name).display().to_string();
    std::fs::create_dir(at("dir.json")).expect("a directory");
    std::fs::write(at("file"), "").expect("a file");
    let refusals = [
        (at("missing/r.json"), "the directory does not exist"),
        (at("dir.json"), "it is a directory"),
        (at("file/r.json"), "a part of the path is not a directory"),
    ];
    for (path, said) in refusals {
        let good = at("good.txt");
        let refusal = refused(report(&cluster, "60").args(["-o", &good, "-o", &path]));
        assert_one_sentence(&refusal, 1, &format!("cannot write the report to {path}: {said}"));
        assert!(!Path::new(&good).exists(), "an empty file stays behind");
    }
    let read_only = "mount -t tmpfs -o ro tmpfs \"$0\" && exec \"$1\" report --pid \"$2\" -d 60 -o \"$0\"/r.json";
    assert_one_sentence(&in_own_mounts(&cluster, temp.path(), read_only), 1, "the file system is read-only");
}

#[test]
fn permission_is_asked_first() {
    let (uid, gid) = user("nobody").expect("nobody");
    let temp = tempfile::tempdir().expect("a directory");
    let binary = temp.path().join("pgstrobe");
    std::fs::copy(pgstrobe().get_program(), &binary).expect("copy");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(temp.path(), open).expect("chmod");
    let mut command = std::process::Command::new(binary);
    command.args(["report", "-d", "60", "-o"]).arg(temp.path().join("r.json")).uid(uid).gid(gid).current_dir("/");
    assert_one_sentence(&refused(&mut command), 1, "permission denied");
}

#[test]
fn a_full_disk_at_the_end() {
    let cluster = quiet_cluster();
    let temp = tempfile::tempdir().expect("a directory");
    let full = "mount -t tmpfs -o size=4k tmpfs \"$0\" && \"$1\" report --pid \"$2\" -d 0.5 -o \"$0\"/r.json";
    let refusal = in_own_mounts(&cluster, temp.path(), &format!("{full} -o -; code=$?; ls \"$0\" >&2; exit $code"));
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    let said = refusal.stderr.lines().filter(|line| line.contains("the disk is full")).count();
    assert_eq!(said, 1, "{}", refusal.stderr);
    assert!(!refusal.stderr.contains("\nr.json"), "half a report stays: {}", refusal.stderr);
    assert!(refusal.stdout.contains("lost: 0"), "the other output got it: {}", refusal.stdout);
    // Where no other output was asked for, it is not thrown away.
    let refusal = in_own_mounts(&cluster, temp.path(), full);
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("the report follows on the standard output"), "{}", refusal.stderr);
    assert!(refusal.stdout.contains("lost: 0"), "{}", refusal.stdout);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let cluster = quiet_cluster();
    for interval in [false, true] {
        let mut command = pgstrobe();
        command.args(["report", "--pid", &cluster.pid().to_string()]);
        command.args(if interval { ["--interval", "0.3"] } else { ["-d", "0.3"] });
        let mut child = Owned::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()), libc::SIGKILL).expect("it");
        drop(child.child().stdout.take());
        let mut stderr = child.child().stderr.take().expect("stderr");
        let status = child.wait(Duration::from_secs(120)).expect("it ends by itself, as nobody reads");
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stderr, &mut said).expect("stderr");
        assert_eq!(status.code(), Some(0), "{said}");
        assert_eq!(said.lines().count(), 1, "only that it is attached: {said}");
    }
}

#[test]
fn nobody_listens_to_what_it_says() {
    let cluster = quiet_cluster();
    let mut command = report(&cluster, "0.5");
    let mut child = Owned::spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()), libc::SIGKILL).expect("it");
    drop(child.child().stderr.take());
    assert_eq!(child.wait(Duration::from_secs(120)).expect("it ends").code(), Some(0));
}

#[test]
fn devices_need_no_suffix() {
    let cluster = quiet_cluster();
    let done = refused(report(&cluster, "0.5").args(["-o", "/dev/null", "-o", "/dev/stdout"]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains("lost: 0"), "{}", done.stdout);
    let refusal = refused(report(&cluster, "0.5").args(["-o", "/tmp/report.pdf"]));
    assert_one_sentence(&refusal, 2, "cannot tell the format");
}

/// A real terminal, so narrow that hardly anything fits.
#[test]
fn a_terminal_of_twenty_columns() {
    const COLUMNS: u16 = 20;
    let cluster = quiet_cluster();
    let (mut screen, terminal) = terminal(COLUMNS);
    let mut command = report(&cluster, "2");
    command.env_remove("COLUMNS").stdout(terminal).stderr(Stdio::null());
    let mut child = Owned::spawn(&mut command, libc::SIGKILL).expect("it");
    drop(command);
    psql(&cluster, "SELECT 'a statement that is far longer than the terminal is wide'");
    let mut shown = Vec::new();
    // EIO is how a terminal ends when the last who writes to it has gone.
    let mut part = [0; 4096];
    while let Ok(n @ 1..) = std::io::Read::read(&mut screen, &mut part) {
        shown.extend_from_slice(&part[..n]);
    }
    assert_eq!(child.wait(Duration::from_secs(120)).expect("it ends").code(), Some(0));
    let shown = String::from_utf8(shown).expect("text");
    let all = shown.lines().map(without_colours);
    let lines: Vec<String> = all.skip_while(|line| !line.starts_with("PostgreSQL 1")).collect();
    assert!(lines.len() > 40, "{shown}");
    for line in &lines {
        assert!(line.chars().count() <= COLUMNS as usize, "{line:?} in\n{shown}");
    }
}

/// What one sees, and what a program writes to.
fn terminal(columns: u16) -> (std::fs::File, std::fs::File) {
    use std::os::fd::FromRawFd;
    let (mut screen, mut terminal) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: openpty fills two descriptors, which are nobody else's.
    unsafe {
        let done = libc::openpty(&mut screen, &mut terminal, std::ptr::null_mut(), std::ptr::null_mut(), &size);
        assert_eq!(done, 0, "openpty: {}", std::io::Error::last_os_error());
        (std::fs::File::from_raw_fd(screen), std::fs::File::from_raw_fd(terminal))
    }
}

fn without_colours(line: &str) -> String {
    let mut out = String::new();
    let mut parts = line.split('\x1b');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        out.push_str(part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
    }
    out.trim_end().to_owned()
}
