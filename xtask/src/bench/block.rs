//! What following every block request costs: reads past the page cache on a loop device over memory, as many as go.

use std::{
    os::unix::fs::FileExt,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use serde_json::Value;
use xtask::{
    children::{check_interrupt, watch_interrupts},
    cluster::{Cluster, ClusterOptions},
    loop_disk::{Aligned, LoopDisk},
};

use super::{quantile, start_attached};
use crate::{
    demo::{build_release, ensure_root},
    toolchain::{self, For},
};

#[derive(Args)]
pub struct BlockRuns {
    /// Rounds of three runs: without pgstrobe, with empty programs on its hooks, with pgstrobe
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Seconds of each run
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Threads that read
    #[arg(long, default_value_t = 4)]
    threads: u32,
    /// Bytes of a read
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// The device's scheduler
    #[arg(long, default_value = "none")]
    scheduler: String,
    /// An already built pgstrobe
    #[arg(long)]
    binary: Option<PathBuf>,
}

const MEBIBYTES: u64 = 256;

pub fn run(runs: &BlockRuns) -> Result<()> {
    ensure!(runs.rounds > 0 && runs.seconds > 0 && runs.threads > 0, "--rounds, --seconds, --threads must be above 0");
    ensure!(runs.size.is_multiple_of(512) && runs.size > 0, "--size is no multiple of 512");
    ensure_root()?;
    toolchain::setup(For::Demo)?;
    let binary = runs.binary.clone().map_or_else(build_release, Ok)?;
    watch_interrupts();
    let cluster = Cluster::start(ClusterOptions::default())?;
    let disk = LoopDisk::new(MEBIBYTES, &runs.scheduler).map_err(|reason| anyhow!("no loop device: {reason}"))?;
    let bench = Bench { binary, cluster, disk, runs };
    let (mut without, mut floor, mut with, mut costs) = (vec![], vec![], vec![], vec![]);
    bench.reads(1);
    for round in 0..runs.rounds {
        check_interrupt()?;
        // Each comes first, second and third equally often.
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => without.push(bench.reads(runs.seconds)),
                1 => floor.push(bench.profiled(&["--empty-programs"])?.0),
                _ => {
                    let (rate, cost) = bench.profiled(&[])?;
                    with.push(rate);
                    costs.push(cost);
                }
            }
        }
        let (plain, floor, with) = (last(&without), last(&floor), last(&with));
        eprintln!("round {}: {plain:.0}, {floor:.0} with empty programs, {with:.0} with pgstrobe", round + 1);
    }
    println!("{} threads read {} bytes, scheduler {}, {} rounds", runs.threads, runs.size, runs.scheduler, runs.rounds);
    println!("  requests/s without        median {:.0}", quantile(&without, 0.5));
    for (name, rates) in [("with empty programs", &floor), ("with pgstrobe", &with)] {
        let ratios: Vec<f64> = rates.iter().zip(&without).map(|(rate, plain)| rate / plain).collect();
        let [min, q1, median, q3, max] = [0.0, 0.25, 0.5, 0.75, 1.0].map(|at| quantile(&ratios, at));
        println!(
            "  {name:<25} median {:.0}, ratio {median:.4}  quartiles {q1:.4}..{q3:.4}  all {min:.4}..{max:.4}",
            quantile(rates, 0.5)
        );
    }
    println!("  eBPF                      {:.0} ns a request (estimated)", quantile(&costs, 0.5));
    Ok(())
}

fn last(values: &[f64]) -> f64 {
    values.last().copied().unwrap_or(f64::NAN)
}

struct Bench<'a> {
    binary: PathBuf,
    cluster: Cluster,
    disk: LoopDisk,
    runs: &'a BlockRuns,
}

impl Bench<'_> {
    /// Requests a second.
    fn reads(&self, seconds: u32) -> f64 {
        let Self { disk, runs, .. } = self;
        let stop = AtomicBool::new(false);
        let before = disk.stat().reads;
        let begun = Instant::now();
        thread::scope(|scope| {
            for thread in 0..runs.threads as u64 {
                let stop = &stop;
                scope.spawn(move || {
                    let file = disk.open();
                    let mut buffer = Aligned::new(runs.size);
                    let blocks = (MEBIBYTES << 20) / runs.size as u64;
                    let mut block = thread * 7919;
                    while !stop.load(Ordering::Relaxed) {
                        block = (block * 5 + 12_345) % blocks;
                        if file.read_exact_at(buffer.bytes(), block * runs.size as u64).is_err() {
                            return;
                        }
                    }
                });
            }
            thread::sleep(Duration::from_secs(seconds.into()));
            stop.store(true, Ordering::Relaxed);
        });
        (disk.stat().reads - before) as f64 / begun.elapsed().as_secs_f64()
    }

    /// The same under a profile, and the eBPF time of the probe `block` per request in nanoseconds.
    fn profiled(&self, more: &[&str]) -> Result<(f64, f64)> {
        let json = self.cluster.dir.join("bench.json");
        let mut command = Command::new(&self.binary);
        command.args(["report", "--pid", &self.cluster.pid().to_string(), "-o"]).arg(&json).args(more);
        let mut pgstrobe = start_attached(&mut command)?;
        let before = self.disk.stat().reads;
        let rate = self.reads(self.runs.seconds);
        let requests = self.disk.stat().reads - before;
        pgstrobe.signal(libc::SIGINT);
        let status = pgstrobe.wait(Duration::from_secs(30)).context("pgstrobe does not end on SIGINT")?;
        ensure!(status.success(), "pgstrobe ended with {status}");
        let report: Value = serde_json::from_slice(&std::fs::read(&json)?)?;
        let probes = report["coverage"]["probes"].as_array().context("no probes in the report")?;
        let block = probes.iter().find(|probe| probe["name"] == "block").context("no probe `block`")?;
        ensure!(block["attached"] == true, "the probe `block` is not attached: {}", block["reason"]);
        Ok((rate, block["run_ns"].as_f64().unwrap_or(0.0) / requests.max(1) as f64))
    }
}
