//! A server as a container runs it: a file system of layers, and namespaces of its own for everything Linux has them for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgstrobe_tests::*;
use xtask::children::Owned;
use xtask::cluster::find_bin_dir;

/// An overlay of this machine's root, with its upper layer in memory, gone with the value.
struct Layers {
    dir: tempfile::TempDir,
}

impl Layers {
    fn mount() -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("pgstrobe-layers-").tempdir_in("/var/tmp").expect("a directory");
        let layers = Self { dir };
        let (upper, merged) = (layers.dir.path().join("upper"), layers.root());
        fs::create_dir_all(&upper).and_then(|()| fs::create_dir_all(&merged)).expect("directories");
        call(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "tmpfs"]).arg(&upper))?;
        for part in ["data", "work"] {
            fs::create_dir(upper.join(part)).expect("a directory");
        }
        let options = format!("lowerdir=/,upperdir={0}/data,workdir={0}/work", upper.display());
        call(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&merged))?;
        Ok(layers)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("merged")
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        for mount in ["merged", "upper"] {
            let _ = call(Command::new("umount").arg("--lazy").arg(self.dir.path().join(mount)));
        }
    }
}

fn call(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(said()) }
}

/// A server in a container, and the load that runs beside it in there.
struct Container {
    _inside: Owned,
    layers: Layers,
}

impl Container {
    /// Runs a script in a container. Whoever runs the test is an ordinary user in there.
    fn start(script: &str) -> Result<Self, String> {
        Self::start_in(Layers::mount()?, script)
    }

    /// The same where something was mounted into the layers already.
    fn start_in(layers: Layers, script: &str) -> Result<Self, String> {
        let (uid, gid) = unprivileged_user().expect("a user");
        fs::write(layers.root().join("run.sh"), script).expect("the script");
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc", "--cgroup", "--user"]);
        unshare.arg("--mount-proc").arg(format!("--root={}", layers.root().display()));
        unshare.args([format!("--map-user={uid}"), format!("--map-group={gid}")]);
        unshare.args(["sh", "/run.sh"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let inside = Owned::spawn(&mut unshare, libc::SIGKILL).map_err(|error| error.to_string())?;
        Ok(Self { _inside: inside, layers })
    }

    /// A file inside, once the script has written it.
    fn wait_for(&self, name: &str) -> String {
        let path = self.layers.root().join("tmp/container").join(name);
        let failed = path.with_file_name("failed");
        // initdb and a start of the server are among it.
        let end = Instant::now() + Duration::from_secs(60);
        while !path.exists() && !failed.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        fs::read_to_string(&path).unwrap_or_else(|_| panic!("no {name}:\n{}", self.log()))
    }

    fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.layers.root().join("tmp/container").join(name));
        ["script.log", "server.log"].map(|name| read(name).unwrap_or_default()).join("\n")
    }

    fn path(&self, inside: &Path) -> PathBuf {
        self.layers.root().join(inside.strip_prefix("/").unwrap_or(inside))
    }
}

/// Makes a cluster, waits for `go`, sends 1,000 statements, says so, and stays until it is killed.
fn script(bin: &Path) -> String {
    script_with(bin, "")
}

/// The same with options of `initdb`.
fn script_with(bin: &Path, options: &str) -> String {
    format!(
        r#"
mkdir -p /tmp/container && cd /tmp/container || exit 1
exec > script.log 2>&1
trap 'touch failed' EXIT
set -ex
export PATH={bin}:$PATH PGHOST=/tmp/container PGPORT=5432 PGUSER=postgres PGDATABASE=postgres LC_ALL=C
initdb --auth=trust --username=postgres --no-locale --no-sync -D data {options}
postgres -D data -c listen_addresses= -c unix_socket_directories=/tmp/container > server.log 2>&1 &
until psql -X -c 'SELECT 1'; do sleep 0.1; done
pgbench -i -q -s 1 -I dtgvp
touch up
until test -e go; do sleep 0.05; done
echo 'SELECT abalance FROM pgbench_accounts WHERE aid = 1;' > one.sql
pgbench -n -f one.sql -c 4 -t 250
psql -X -c 'CREATE TABLE t (a int)' -c CHECKPOINT
touch done
wait
"#,
        bin = bin.display()
    )
}

#[test]
fn every_namespace_and_a_replaced_binary() {
    let bin = find_bin_dir().expect("a server");
    let container = match Container::start(&script(&bin)) {
        Ok(container) => container,
        Err(reason) => skip!("no container can be made here: {reason}"),
    };
    container.wait_for("up");
    // A package upgrade while the server runs: its own executable is no longer there by its name.
    let binary = container.path(&bin.join("postgres"));
    fs::remove_file(&binary).expect("remove the binary");
    fs::write(&binary, "not the server that runs").expect("another binary");

    let data = Path::new("/tmp/container/data");
    let choice = ["--data-directory", data.to_str().expect("path")];
    let profile = Profile::of(
        pgstrobe(),
        &choice,
        container.layers.dir.path(),
        container.path(&data.with_file_name("server.log")),
    );
    fs::write(container.layers.root().join("tmp/container/go"), "").expect("go");
    container.wait_for("done");
    let report = profile.stop();
    assert_eq!(calls(&report, "abalance"), 1000);
    assert_eq!(report.statements.count, 1002);
    assert_nothing_lost(&report);

    let cluster = &report.clusters[0];
    assert_eq!(cluster.data_directory, data.to_str().expect("path"));
    let inside = cluster.namespace_pid.expect("the pid inside");
    assert!(inside != cluster.postmaster_pid && inside < 1000, "{inside}");
    let clients: Vec<_> = report.backends.iter().filter(|backend| backend.role == "client backend").collect();
    // pgbench's four, the one it looks around with, and psql.
    assert_eq!(clients.len(), 6);
    for client in clients {
        let inside = client.namespace_pid.expect("the pid inside");
        assert!(inside < 2000 && inside != client.pid, "{inside} is {} here", client.pid);
        assert_eq!((client.user.as_deref(), client.database.as_deref()), (Some("postgres"), Some("postgres")));
    }
    let wal = report.fsync.by.iter().find(|row| row.file_kind == "wal").expect("the commit's sync");
    assert!(wal.file.starts_with("pg_wal/"), "{}", wal.file);
    // Its catalogs are read where it has them.
    let accounts = |row: &FsyncBy| row.relation.as_deref() == Some("public.pgbench_accounts");
    assert!(report.fsync.by.iter().any(accounts), "{:#?}", report.fsync.by);
}

/// What a disk holds is asked in the mounts of the server: its path to the log, which is a link, leads nowhere on the host.
#[test]
fn disks_are_those_the_server_sees() {
    let bin = find_bin_dir().expect("a server");
    let disk = match SlowDisk::mount(false) {
        Ok(disk) => disk,
        Err(reason) => skip!("{reason}"),
    };
    let layers = match Layers::mount() {
        Ok(layers) => layers,
        Err(reason) => skip!("no container can be made here: {reason}"),
    };
    const INSIDE: &str = "/pgstrobe-disk-of-the-container";
    let inside = layers.root().join(&INSIDE[1..]);
    fs::create_dir(&inside).expect("a directory");
    // The container's user is this one out here: a directory of its own.
    let space = disk.dir.join("container");
    fs::create_dir(&space).expect("a directory");
    call(Command::new("mount").arg("--bind").arg(&space).arg(&inside)).expect("a bind mount");
    let mounted = Mounted(inside);
    let container = match Container::start_in(layers, &script_with(&bin, &format!("--waldir={INSIDE}/wal"))) {
        Ok(container) => container,
        Err(reason) => skip!("no container can be made here: {reason}"),
    };
    container.wait_for("up");
    disk.sync();
    let data = Path::new("/tmp/container/data");
    let choice = ["--data-directory", data.to_str().expect("path")];
    let log = container.path(&data.with_file_name("server.log"));
    let profile = Profile::of(pgstrobe(), &choice, container.layers.dir.path(), log);
    fs::write(container.layers.root().join("tmp/container/go"), "").expect("go");
    container.wait_for("done");
    // Something for the flusher.
    fs::write(disk.dir.join("more"), vec![1; 1 << 20]).expect("a file");
    disk.sync();
    let report = profile.stop();
    assert!(!Path::new(INSIDE).exists(), "the host has no such path");
    let rows = report.storage.writeback.by.iter().filter(|by| by.device == disk.number).collect::<Vec<_>>();
    assert!(!rows.is_empty(), "{:#?}", report.storage.writeback.by);
    assert!(rows.iter().all(|by| by.holds == ["wal"]), "{rows:#?}");
    drop(container);
    drop(mounted);
}

/// A mount of a test, gone with the value.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = call(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

/// pgstrobe in a container that shares no more with the host than its processes, with the capabilities it names and no
/// other.
#[test]
fn pgstrobe_inside() {
    if !installed("setpriv") {
        skip!("setpriv is not installed");
    }
    let layers = match Layers::mount() {
        Ok(layers) => layers,
        Err(reason) => skip!("no container can be made here: {reason}"),
    };
    let cluster = quiet_cluster();
    let out = tempfile::Builder::new().prefix("pgstrobe-out-").tempdir_in("/var/tmp").expect("a directory");
    let inside = layers.root().join(out.path().strip_prefix("/").expect("a full path"));
    if let Err(reason) = call(Command::new("mount").arg("--bind").arg(out.path()).arg(&inside)) {
        skip!("no container can be made here: {reason}");
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "--uts", "--ipc", "--cgroup"]).arg(format!("--root={}", layers.root().display()));
    let script = "mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tracefs tracefs /sys/kernel/tracing && \
                  exec setpriv --bounding-set -all,+bpf,+perfmon,+sys_ptrace,+dac_read_search --inh-caps -all \"$0\" \"$@\"";
    unshare.args(["sh", "-c", script]).arg(pgstrobe().get_program());
    let pid = cluster.pid().to_string();
    let profile = Profile::of(unshare, &["--pid", &pid], out.path(), cluster.log_path());
    let run = Pgbench::new(&cluster, 2, 250).script("SELECT 1;\n").run();
    assert_eq!(run.transactions, 500);
    let report = profile.stop();
    call(Command::new("umount").arg("--lazy").arg(&inside)).expect("umount");
    assert_eq!(report.statements.count, 500);
    assert_nothing_lost(&report);
    assert_eq!(report.clusters[0].data_directory, cluster.data.display().to_string());
    println!("{:#?}", report.coverage.notes);
    for probe in &report.coverage.probes {
        println!("{} {:?}", probe.name, probe.reason);
    }
}
