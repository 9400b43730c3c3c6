//! `cargo xtask bench`: what profiling costs the server that is profiled.
//!
//! Throughput is compared in pairs of runs, one with and one without pgstrobe right after each other, in alternating
//! order, so that a machine that drifts drifts for both. The kernel's own statistics of eBPF run time are the steadier
//! figure; they are taken in a run of their own, because taking them costs something too.

mod block;
mod count;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::Value;
use xtask::children::{Owned, check_interrupt, watch_interrupts};
use xtask::cluster::{Cluster, ClusterOptions};

use crate::demo::{Workload, build_release, ensure_root};
use crate::toolchain::{self, For};

#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Throughput with pgstrobe attached against throughput without
    Overhead(Runs),
    /// The same with empty programs on the same hooks: what the hooks alone cost
    Floor(Runs),
    /// Requests a second of a block device with pgstrobe attached against without
    Block(block::BlockRuns),
    /// Instructions of a transaction in a virtual machine whose time is its instructions
    Count(count::CountRuns),
}

#[derive(Args, Clone)]
struct Runs {
    /// Pairs of runs of each workload
    #[arg(long, default_value_t = 10)]
    pairs: u32,
    /// Seconds of each run
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Only these workloads (repeatable)
    #[arg(long, value_enum)]
    workload: Vec<Workload>,
    /// pgbench's clients
    #[arg(long, default_value_t = 2)]
    clients: u32,
    /// pgbench's threads; with one for each client, no CPU is ever idle and every nanosecond shows
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// pgbench's scale factor
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// Profiling levels to compare with none (repeatable)
    #[arg(long, default_value = "standard")]
    level: Vec<String>,
    /// An already built pgstrobe
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub fn run(args: &BenchArgs) -> Result<()> {
    match &args.what {
        What::Block(runs) => block::run(runs),
        What::Count(runs) => count::run(runs),
        What::Overhead(runs) => throughput(runs, &[]),
        What::Floor(runs) => throughput(runs, &["--empty-programs"]),
    }
}

fn throughput(runs: &Runs, extra: &[&str]) -> Result<()> {
    ensure!(runs.pairs > 0 && runs.seconds > 0, "--pairs and --seconds must be above 0");
    ensure_root()?;
    toolchain::setup(For::Demo)?;
    let binary = runs.binary.clone().map_or_else(build_release, Ok)?;
    watch_interrupts();
    let cluster = Cluster::start(ClusterOptions::with(&["shared_buffers = 256MB", "max_wal_size = 4GB"]))?;
    cluster.pgbench_init(runs.scale)?;
    let bench = Bench { cluster, binary, runs, extra };
    match bench.all() {
        Err(error) if error.is::<Refused>() => {
            println!("not available: this pgstrobe refuses {}", extra.join(" "));
            Ok(())
        }
        other => other,
    }
}

/// pgstrobe did not know a flag.
#[derive(Debug)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("pgstrobe refused its arguments")
    }
}

impl std::error::Error for Refused {}

struct Bench<'a> {
    cluster: Cluster,
    binary: PathBuf,
    runs: &'a Runs,
    extra: &'a [&'a str],
}

/// What one run with pgstrobe attached cost pgstrobe itself.
#[derive(Default, Clone)]
struct Own {
    cpu_percent: f64,
    rss_bytes: f64,
    attach_ms: f64,
    /// CPU time until all hooks are attached.
    attach_cpu_ms: f64,
    /// From the report, when the kernel kept statistics.
    run_ns_per_statement: Option<f64>,
    hits_per_statement: Option<f64>,
    lost: u64,
}

impl Bench<'_> {
    fn all(&self) -> Result<()> {
        let all = [Workload::SelectOnly, Workload::SelectPrepared, Workload::Tpcb];
        let chosen = if self.runs.workload.is_empty() { &all[..] } else { &self.runs.workload };
        let Runs { pairs, seconds, clients, threads, scale, .. } = self.runs;
        println!(
            "{pairs} pairs of {seconds} s, {clients} clients in {threads} threads, scale {scale}; ratio = tps with / tps without"
        );
        for level in &self.runs.level {
            for workload in chosen {
                self.one(*workload, level)?;
            }
        }
        Ok(())
    }

    fn one(&self, workload: Workload, level: &str) -> Result<()> {
        // Warms the caches, and shows early if a flag is refused.
        self.with(workload, level, &[], 1)?;
        let (mut without, mut with, mut ratios, mut own) = (vec![], vec![], vec![], vec![]);
        for pair in 0..self.runs.pairs {
            check_interrupt()?;
            let first_without = pair % 2 == 0;
            let before = if first_without { Some(self.pgbench(workload, self.runs.seconds)?) } else { None };
            let (tps, cost) = self.with(workload, level, &[], self.runs.seconds)?;
            let plain = before.map_or_else(|| self.pgbench(workload, self.runs.seconds), Ok)?;
            eprintln!("{} pair {}: {plain:.0} -> {tps:.0} tps, {:.4}", workload.name(), pair + 1, tps / plain);
            without.push(plain);
            with.push(tps);
            ratios.push(tps / plain);
            own.push(cost);
        }
        let (_, kernel) = self.with(workload, level, &["--bpf-stats"], self.runs.seconds)?;

        let quart = |values: &[f64]| [0.0, 0.25, 0.5, 0.75, 1.0].map(|at| quantile(values, at));
        let [min, q1, median, q3, max] = quart(&ratios);
        println!("\n{} at {level}{}", workload.name(), if self.extra.is_empty() { "" } else { " (empty programs)" });
        println!("  tps without  median {:.0}", quantile(&without, 0.5));
        println!("  tps with     median {:.0}", quantile(&with, 0.5));
        println!("  ratio        median {median:.4}  quartiles {q1:.4}..{q3:.4}  all {min:.4}..{max:.4}");
        let of = |pick: fn(&Own) -> f64| own.iter().map(pick).collect::<Vec<f64>>();
        let (cpu, rss) = (of(|o| o.cpu_percent), of(|o| o.rss_bytes));
        println!(
            "  pgstrobe     CPU {:.2} % of a core (max {:.2} %), RSS {:.1} MiB, attached in {:.0} ms ({:.0} ms of CPU time)",
            quantile(&cpu, 0.5),
            quantile(&cpu, 1.0),
            quantile(&rss, 1.0) / 1048576.0,
            quantile(&of(|o| o.attach_ms), 0.5),
            quantile(&of(|o| o.attach_cpu_ms), 0.5)
        );
        match (kernel.run_ns_per_statement, kernel.hits_per_statement) {
            // Empty programs see no statement.
            (Some(_), Some(_)) if !self.extra.is_empty() => {}
            (Some(ns), Some(hits)) => {
                println!("  eBPF         {ns:.0} ns in {hits:.1} hits per statement (kernel's statistics)")
            }
            _ => println!("  eBPF         not measured: the kernel's statistics could not be had"),
        }
        println!("  lost         {}", own.iter().map(|o| o.lost).sum::<u64>());
        Ok(())
    }

    fn pgbench(&self, workload: Workload, seconds: u32) -> Result<f64> {
        let mut pgbench = self.cluster.client("pgbench");
        pgbench.args(workload.pgbench_args()).args(["-c", &self.runs.clients.to_string(), "-T", &seconds.to_string()]);
        pgbench.args(["-j", &self.runs.threads.to_string()]);
        let output = pgbench.output().context("cannot run pgbench")?;
        check_interrupt()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        tps.with_context(|| format!("pgbench: {}{}", text, String::from_utf8_lossy(&output.stderr)))
    }

    fn with(&self, workload: Workload, level: &str, more: &[&str], seconds: u32) -> Result<(f64, Own)> {
        let json = self.cluster.dir.join("bench.json");
        let mut command = Command::new(&self.binary);
        command.args(["report", "--pid", &self.cluster.pid().to_string(), "--level", level, "-o"]).arg(&json);
        command.args(self.extra).args(more);
        let begun = Instant::now();
        let mut pgstrobe = start_attached(&mut command)?;
        let attach_ms = begun.elapsed().as_secs_f64() * 1e3;
        let (cpu, begun) = (cpu_seconds(pgstrobe.id())?, Instant::now());
        let tps = self.pgbench(workload, seconds)?;
        let cpu_percent = 100.0 * (cpu_seconds(pgstrobe.id())? - cpu) / begun.elapsed().as_secs_f64();
        let rss_bytes = peak_rss(pgstrobe.id())?;
        pgstrobe.signal(libc::SIGINT);
        let status = pgstrobe.wait(Duration::from_secs(30)).context("pgstrobe does not end on SIGINT")?;
        ensure!(status.success(), "pgstrobe ended with {status}");
        let report: Value = serde_json::from_slice(&std::fs::read(&json)?)?;
        let overhead = &report["coverage"]["overhead"];
        let measured = overhead["source"] == "kernel";
        let statements = report["statements"]["count"].as_f64().unwrap_or(0.0).max(1.0);
        let lost = report["coverage"]["lost"].as_object();
        Ok((
            tps,
            Own {
                cpu_percent,
                rss_bytes,
                attach_ms,
                attach_cpu_ms: cpu * 1e3,
                run_ns_per_statement: overhead["run_ns_per_statement"].as_f64().filter(|_| measured),
                hits_per_statement: overhead["hits"].as_f64().map(|hits| hits / statements).filter(|_| measured),
                lost: lost.map_or(0, |by| by.values().filter_map(Value::as_u64).sum()),
            },
        ))
    }
}

/// Starts pgstrobe and waits until it says that all its hooks are attached.
fn start_attached(command: &mut Command) -> Result<Owned> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut pgstrobe = Owned::spawn(command, libc::SIGKILL)?;
    let stderr = pgstrobe.child().stderr.take().context("no stderr")?;
    let (sender, lines) = mpsc::channel();
    // Reads on to the end, so that pgstrobe never waits for a full pipe.
    std::thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).for_each(|l| drop(sender.send(l))));
    let mut said = Vec::new();
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(30)) {
        if line.contains("attached in") {
            return Ok(pgstrobe);
        }
        said.push(line);
    }
    match pgstrobe.wait(Duration::from_secs(1)) {
        Some(status) if status.code() == Some(2) => Err(Refused.into()),
        Some(status) => bail!("pgstrobe ended with {status}:\n{}", said.join("\n")),
        None => bail!("pgstrobe is not attached after 30 s:\n{}", said.join("\n")),
    }
}

/// User and system time of a process so far (proc_pid_stat(5), fields 14 and 15).
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("pgstrobe is gone")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    // SAFETY: a plain library call.
    Ok(ticks / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64)
}

fn peak_rss(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

/// The value below which the share `at` of the values lies, interpolated.
fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = at * (sorted.len().saturating_sub(1)) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(a), Some(b)) => a + (b - a) * place.fract(),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod unit_tests {
    use super::quantile;

    #[test]
    fn quantiles_interpolate() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!((quantile(&values, 0.0), quantile(&values, 0.5), quantile(&values, 1.0)), (1.0, 2.5, 4.0));
    }
}
