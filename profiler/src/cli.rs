//! The command line, and its translation into a validated [`Config`].

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Boundary, Config, Trace},
    kernel::device::Disk,
    postgres::{catalog::Dsn, cluster::Choice},
    probes::Level,
    watch::TRACE_LEVEL,
};

const EXAMPLES: &str = "\
Examples:
  pgstrobe report -d 10                     profile all running servers for ten seconds
  pgstrobe report --port 5433 -d 30         the one that listens on this port
  pgstrobe report --container 3f2a -d 30    the one in this container
  pgstrobe report -d 60 -o run.json -o -    a file for later, and the text on the terminal
  pgstrobe report --interval 5 --count 12   a report every five seconds, for a minute
  pgstrobe trace --min 10 -d 60             every block request of the server that took 10 ms or more
  pgstrobe doctor                           what this host can show, and how to get the rest
  pgstrobe probes                           what is measured, by which hooks

Exit codes: 0 done (also after Ctrl-C), 1 failure, 2 usage, 3 no or ambiguous server, 4 privilege or kernel,
5 data lost under --fail-on-loss.";

const TRACE_EXAMPLES: &str = "\
Examples:
  pgstrobe trace                            block requests of the only running server, until Ctrl-C
  pgstrobe trace --min 10 -d 60             those that took 10 ms or more, for a minute
  pgstrobe trace --all --device sda         all requests of this disk, whoever makes them
  pgstrobe trace -d 10 -o run.json          into a file, as JSON lines
  pgstrobe trace -o json | jq 'select(.operation == \"flush\")'
                                            JSON lines on the standard output

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
    /// Write a line for each request to a block device as it is complete: when, what, how long, and for whom.
    Trace(TraceArgs),
    /// Explain what this host and its servers can show, what is missing, and the command that gets it.
    Doctor,
    /// List the probes, their hooks, fallbacks and levels.
    Probes,
}

/// Which server.
#[derive(Args)]
pub struct TargetArgs {
    /// The postmaster, or any process of the server.
    #[arg(long)]
    pub pid: Option<u32>,
    /// The port the server listens on.
    #[arg(long)]
    pub port: Option<u16>,
    /// The server's data directory.
    #[arg(long, value_name = "DIR")]
    pub data_directory: Option<PathBuf>,
    /// The container the server runs in: the beginning of its identifier.
    #[arg(long, value_name = "ID", value_parser = container_id)]
    pub container: Option<String>,
}

impl TargetArgs {
    fn choice(&self) -> Choice {
        Choice {
            pid: self.pid,
            port: self.port,
            data_directory: self.data_directory.clone(),
            container: self.container.clone(),
        }
    }
}

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// All servers of this host, and those that start meanwhile: a report of each, behind a table of all. This is what
    /// happens without a choice where several run.
    #[arg(long, conflicts_with_all = ["pid", "port", "data_directory", "container", "dsn"])]
    pub all: bool,
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
            choice: self.target.choice(),
            all: self.all,
            level: self.level,
            boundary: self.boundary,
            show_literals: self.show_literals,
            bpf_stats: self.bpf_stats,
            empty_programs: self.empty_programs,
            ring_bytes: self.ring_buffer * 1024,
            btf: self.btf.clone(),
            only_way: self.only_way.clone(),
            dsn: self.dsn.clone(),
            trace: None,
            drain: DRAIN,
        }
    }
}

/// How often the ring buffer is drained.
const DRAIN: Duration = Duration::from_millis(100);

#[derive(Args)]
#[command(after_help = TRACE_EXAMPLES)]
pub struct TraceArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Seconds to trace; without it, until Ctrl-C.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// Where to write: a file (the format by its suffix: .json for JSON lines, .txt), or - for the terminal. Repeatable.
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// Only requests of this disk, such as sda or /dev/nvme0n1.
    #[arg(long, value_name = "NAME")]
    pub device: Option<Disk>,
    /// Only requests that took at least so long, in the queue and in the device together.
    #[arg(long, value_name = "MILLISECONDS", value_parser = milliseconds, default_value = "0", hide_default_value = true)]
    pub min: Duration,
    /// Requests of others too. Without it, those of the cluster: of its processes, the flushes they ask for, and of the
    /// kernel's threads what is for the cluster's own cgroup, where it has one. Writeback and the journal of a server in no
    /// cgroup of its own are of others.
    #[arg(long)]
    pub all: bool,
    /// Exit with 5 if anything was lost.
    #[arg(long)]
    pub fail_on_loss: bool,
    /// Size of the ring buffer in KiB, a power of two.
    #[arg(long, default_value_t = 4096, value_name = "KIB", value_parser = ring_kib)]
    pub ring_buffer: u32,
    /// The kernel's type information, where /sys/kernel/btf/vmlinux does not exist.
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
}

impl TraceArgs {
    pub fn config(&self) -> Config {
        Config {
            choice: self.target.choice(),
            all: false,
            level: TRACE_LEVEL,
            boundary: Boundary::Socket,
            show_literals: false,
            bpf_stats: false,
            empty_programs: false,
            ring_bytes: self.ring_buffer * 1024,
            btf: self.btf.clone(),
            only_way: None,
            dsn: None,
            trace: Some(Trace { all: self.all, device: self.device.clone(), least: self.min }),
            drain: DRAIN,
        }
    }
}

/// The beginning of 64 hexadecimal digits.
fn container_id(text: &str) -> Result<String, String> {
    let is_id = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| text.to_ascii_lowercase()).ok_or_else(|| "the hexadecimal digits of a container are needed".into())
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

/// Milliseconds up to an hour, perhaps with a fraction of whole microseconds.
fn milliseconds(text: &str) -> Result<Duration, String> {
    let text = text.strip_suffix("ms").unwrap_or(text);
    let micros = text.parse::<f64>().ok().map(|millis| (millis * 1e3).round());
    micros
        .filter(|micros| (0.0..=3_600e6).contains(micros))
        .map(|micros| Duration::from_micros(micros as u64))
        .ok_or_else(|| "a number of milliseconds from 0 to 3600000 is needed, such as 10 or 0.5".into())
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
    fn a_trace_is_of_the_cluster_and_all_devices_unless_it_is_asked_for_more() {
        let config = |args: &[&str]| match Cli::try_parse_from([&["pgstrobe", "trace"], args].concat()) {
            Ok(Cli { command: Command::Trace(args) }) => args.config(),
            Ok(_) => panic!("another command"),
            Err(error) => panic!("{error}"),
        };
        let trace = |args: &[&str]| config(args).trace.expect("a trace");
        assert_eq!(trace(&[]), Trace { all: false, device: None, least: Duration::ZERO });
        assert_eq!(
            trace(&["--all", "--min", "0.25"]),
            Trace { all: true, device: None, least: Duration::from_micros(250) }
        );
        assert_eq!(config(&["--port", "5433", "--ring-buffer", "4"]).choice.port, Some(5433));
        for bad in [&["--device", "no-such-disk"][..], &["--min", "-1"], &["--interval", "1"]] {
            assert!(Cli::try_parse_from([&["pgstrobe", "trace"], bad].concat()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_are_positive_seconds() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("10s"), Ok(Duration::from_secs(10)));
        for bad in ["0", "-1", "x", "nan", "inf", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!((milliseconds("0"), milliseconds("2.5ms")), (Ok(Duration::ZERO), Ok(Duration::from_micros(2500))));
        assert_eq!(milliseconds("3600000"), Ok(Duration::from_secs(3600)));
        for bad in ["-1", "x", "nan", "inf", "", "3600001"] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
        assert_eq!(container_id("3F2a"), Ok("3f2a".into()));
        assert!(container_id("").is_err() && container_id("pg-1").is_err());
        assert!(ring_kib("5").is_err() && ring_kib("0").is_err() && ring_kib("4096").is_ok());
    }
}
