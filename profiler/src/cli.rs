//! The command line, and its translation into a validated [`Config`].

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Boundary, Config},
    postgres::catalog::Dsn,
    probes::Level,
};

const EXAMPLES: &str = "\
Examples:
  pgstrobe report -d 10                     profile the only running server for ten seconds
  pgstrobe report --port 5433 -d 30         the one that listens on this port
  pgstrobe report -d 60 -o run.json -o -    a file for later, and the text on the terminal
  pgstrobe report --interval 5 --count 12   a report every five seconds, for a minute
  pgstrobe doctor                           what this host can show, and how to get the rest
  pgstrobe probes                           what is measured, by which hooks

Exit codes: 0 done (also after Ctrl-C), 1 failure, 2 usage, 3 no or ambiguous server, 4 privilege or kernel,
5 data lost under --fail-on-loss.";

/// Where a PostgreSQL server's time goes, and who is to blame: an eBPF profiler that needs no change to the server.
#[derive(Parser)]
#[command(name = "pgstrobe", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Profile a server and print where its statements' time went.
    Report(ReportArgs),
    /// Explain what this host and its servers can show, what is missing, and the command that gets it.
    Doctor,
    /// List the probes, their hooks, fallbacks and levels.
    Probes,
}

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    /// The postmaster, or any process of the server.
    #[arg(long)]
    pub pid: Option<u32>,
    /// The port the server listens on.
    #[arg(long)]
    pub port: Option<u16>,
    /// The server's data directory.
    #[arg(long, value_name = "DIR")]
    pub data_directory: Option<PathBuf>,
    /// Seconds to profile; without it, until Ctrl-C.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, conflicts_with_all = ["interval", "count"])]
    pub duration: Option<Duration>,
    /// Seconds between reports; in a file, they follow each other.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub interval: Option<Duration>,
    /// How many reports, with --interval.
    #[arg(long, requires = "interval", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// Where to write: a file (the format by its suffix: .json, .txt), or - for the terminal. Repeatable.
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// Rows of each table.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub top: usize,
    /// What is measured, and at what cost.
    #[arg(long, value_enum, default_value_t = Level::Standard)]
    pub level: Level,
    /// Where statements begin and end.
    #[arg(long, value_enum, default_value_t = Boundary::Socket)]
    pub boundary: Boundary,
    /// Show statement texts as they are, with their literals.
    #[arg(long)]
    pub show_literals: bool,
    /// Exit with 5 if anything was lost.
    #[arg(long)]
    pub fail_on_loss: bool,
    /// Have the kernel time every run of every program: an exact cost, at a cost.
    #[arg(long)]
    pub bpf_stats: bool,
    /// Attach programs that do nothing: the floor of the cost; for benchmarks.
    #[arg(long, hide = true)]
    pub empty_programs: bool,
    /// Size of the ring buffer in KiB, a power of two.
    #[arg(long, default_value_t = 4096, value_name = "KIB", value_parser = ring_kib)]
    pub ring_buffer: u32,
    /// The kernel's type information, where /sys/kernel/btf/vmlinux does not exist.
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Ask the server for names of relations that its files and memory do not tell: a connection string without TLS, such
    /// as 'host=/var/run/postgresql user=postgres'. A password may come from PGPASSWORD.
    #[arg(long, value_name = "DSN")]
    pub dsn: Option<Dsn>,
    /// Use only the way of this name in the probes that have it (see `pgstrobe probes`); for tests.
    #[arg(long, value_name = "WAY", hide = true)]
    pub only_way: Option<String>,
}

impl ReportArgs {
    pub fn config(&self) -> Config {
        Config {
            pid: self.pid,
            port: self.port,
            data_directory: self.data_directory.clone(),
            level: self.level,
            boundary: self.boundary,
            show_literals: self.show_literals,
            bpf_stats: self.bpf_stats,
            empty_programs: self.empty_programs,
            ring_bytes: self.ring_buffer * 1024,
            btf: self.btf.clone(),
            only_way: self.only_way.clone(),
            dsn: self.dsn.clone(),
            drain: Duration::from_millis(100),
        }
    }
}

/// A positive number of seconds, perhaps with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let text = text.strip_suffix('s').unwrap_or(text);
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a number of seconds greater than zero is needed, such as 10 or 0.5".into())
}

fn ring_kib(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|kib: &u32| kib.is_power_of_two() && (4..=1 << 20).contains(kib))
        .ok_or_else(|| "a power of two from 4 to 1048576 is needed".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_positive_seconds() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("10s"), Ok(Duration::from_secs(10)));
        for bad in ["0", "-1", "x", "nan", "inf", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert!(ring_kib("5").is_err() && ring_kib("0").is_err() && ring_kib("4096").is_ok());
    }
}
