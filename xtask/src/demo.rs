//! `cargo xtask demo`: from a fresh clone to a report of a loaded server, in one command.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use xtask::children::{Owned, check_interrupt, interrupted, tie, watch_interrupts};
use xtask::cluster::{Cluster, ClusterOptions};

use crate::toolchain::{self, For, call};

#[derive(Args)]
pub struct DemoArgs {
    /// What pgbench does
    #[arg(long, value_enum, default_value_t = Workload::Tpcb)]
    workload: Workload,
    /// Seconds to profile
    #[arg(short, long, default_value_t = 10)]
    duration: u32,
    /// pgbench's scale factor
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// pgbench's clients
    #[arg(long, default_value_t = 4)]
    clients: u32,
    /// An already built pgstrobe
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Further arguments for `pgstrobe report`
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum Workload {
    /// Reads one row by its key
    SelectOnly,
    /// The same as a prepared statement
    SelectPrepared,
    /// Three updates, a select and an insert in a transaction
    Tpcb,
}

impl Workload {
    pub fn pgbench_args(self) -> &'static [&'static str] {
        match self {
            Self::SelectOnly => &["-n", "-S"],
            Self::SelectPrepared => &["-n", "-S", "-M", "prepared"],
            Self::Tpcb => &["-n", "-b", "tpcb-like"],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::SelectOnly => "select-only",
            Self::SelectPrepared => "select-prepared",
            Self::Tpcb => "tpcb",
        }
    }
}

pub fn run(args: &DemoArgs) -> Result<()> {
    toolchain::setup(For::Demo)?;
    let binary = args.binary.clone().map_or_else(build_release, Ok)?;
    ensure_root()?;
    // From here on there is something to clean up.
    watch_interrupts();

    say("starting a throw-away Postgres cluster");
    let cluster = Cluster::start(ClusterOptions { tcp: true, ..Default::default() })?;
    say(&format!("postmaster {} on port {}, data in {}", cluster.pid(), cluster.port, cluster.data.display()));
    say(&format!("filling it (pgbench, scale {})", args.scale));
    check_interrupt()?;
    cluster.pgbench_init(args.scale)?;
    check_interrupt()?;

    say(&format!("loading it: pgbench {}, {} clients", args.workload.name(), args.clients));
    let mut load = start_load(&cluster, args.workload, args.clients, args.duration + 3600)?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(load.exited().is_none(), "pgbench ended at once; the server's log:\n{}", cluster.log_tail(10));

    let mut report = Command::new(&binary);
    report.args(["report", "--pid", &cluster.pid().to_string(), "-d", &args.duration.to_string()]).args(&args.rest);
    say(&format!("{report:?}").replace('"', ""));
    eprintln!();
    // Not in a group of its own: Ctrl-C on the terminal reaches it, and it prints what it has seen.
    let mut child = tie(report.stdin(Stdio::null()), libc::SIGINT).spawn().context("cannot start pgstrobe")?;
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupted() && !told {
            // SAFETY: a plain system call on a child not yet waited for. A second SIGINT does no harm, and `kill` on this
            // process alone reaches the child in this way only.
            unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
            told = true;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    drop(load);
    drop(cluster);
    ensure!(status.success(), "pgstrobe ended with {status}");
    Ok(())
}

fn say(message: &str) {
    eprintln!("demo: {message}");
}

/// pgbench in the background, killed on drop.
pub fn start_load(cluster: &Cluster, workload: Workload, clients: u32, seconds: u32) -> Result<Owned> {
    let mut pgbench = cluster.client("pgbench");
    pgbench.args(workload.pgbench_args()).args(["-c", &clients.to_string(), "-T", &seconds.to_string()]);
    Owned::spawn(pgbench.stdout(Stdio::null()).stderr(Stdio::null()), libc::SIGKILL)
}

/// The path of `pgstrobe`, built for release.
pub fn build_release() -> Result<PathBuf> {
    eprintln!("building pgstrobe (release)");
    // With the package of the live tests: what cargo compiles depends on the features that all chosen packages ask of
    // their dependencies, and the tests shall use what is built here.
    call(cargo().args(["build", "--release", "--package", "pgstrobe", "--package", "pgstrobe-tests"]))?;
    let binary = target_dir().join("release/pgstrobe");
    ensure!(binary.is_file(), "{} was not built", binary.display());
    Ok(binary)
}

/// The cargo that runs this task.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

pub fn target_dir() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let dir = given.unwrap_or_else(|| PathBuf::from("target"));
    std::path::absolute(&dir).unwrap_or(dir)
}

/// Profiling needs root; building does not.
pub fn ensure_root() -> Result<()> {
    ensure!(xtask::children::is_root(), "profiling needs root: run `sudo -E env PATH=\"$PATH\" cargo xtask …`");
    Ok(())
}
