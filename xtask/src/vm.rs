//! `cargo xtask vm`: the short form of the live tests on other kernels, each in a virtual machine of its own.
//!
//! The tests are the ones of `tests/tests/short.rs`, compiled here and run inside. Nothing is emulated but the machine:
//! kernels are Debian's, the server is the one of this host.

mod count;
mod cpio;
mod image;
mod kernels;
mod machine;
mod outcome;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use xtask::children::watch_interrupts;

use crate::{
    demo::{build_release, cargo, target_dir},
    toolchain::{self, For, in_path},
};
pub use kernels::KERNELS;
use kernels::Kernel;
use machine::Time;
use outcome::Outcome;

pub use count::{Counted, count};

/// Far beyond what a run takes, also on a busy machine: it ends what will not end by itself.
const LIMIT: Duration = Duration::from_secs(2400);

#[derive(Args)]
pub struct VmArgs {
    /// Kernels: 5.10, 6.1, 6.12, sid; all of them when none is named
    versions: Vec<String>,
    /// Only the tests whose name holds this
    #[arg(long)]
    test: Option<String>,
}

/// What came of all kernels asked for.
pub struct Matrix {
    outcomes: Vec<Outcome>,
    /// Kernels that could not be had, with the reason.
    missing: Vec<String>,
    verdict: Result<()>,
}

pub fn run(args: &VmArgs) -> Result<()> {
    toolchain::setup(For::Test)?;
    if let Some(reason) = impossible() {
        anyhow::bail!("{reason}");
    }
    watch_interrupts();
    let matrix = matrix(args)?;
    for missing in &matrix.missing {
        println!("kernel {missing}");
    }
    matrix.verdict?;
    ensure!(matrix.missing.is_empty(), "not every kernel could be had");
    Ok(())
}

/// What came of all kernels as a step of the tests.
pub enum Step {
    /// Nothing could be run, for this reason.
    Impossible(String),
    Ran {
        summary: String,
        good: bool,
    },
}

pub fn step() -> Result<Step> {
    if let Some(reason) = impossible() {
        return Ok(Step::Impossible(reason));
    }
    let matrix = matrix(&VmArgs { versions: Vec::new(), test: None })?;
    if matrix.outcomes.is_empty() {
        return Ok(Step::Impossible(format!("no kernel could be had: {}", matrix.missing.join("; "))));
    }
    let of_kernels = matrix.outcomes.iter().map(|outcome| format!("{}: {}", outcome.kernel, outcome.summary()));
    let of_missing = matrix.missing.iter().map(|reason| format!("skipped {reason}"));
    let mut summary: Vec<String> = of_kernels.chain(of_missing).collect();
    if let Err(error) = &matrix.verdict {
        summary.push(format!("{error:#}"));
    }
    Ok(Step::Ran { summary: summary.join("; "), good: matrix.verdict.is_ok() })
}

/// Why no virtual machine can be run here.
pub fn impossible() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("the kernels are for x86-64".into());
    }
    let missing: Vec<&str> = [machine::QEMU, "busybox"].into_iter().filter(|program| !in_path(program)).collect();
    (!missing.is_empty()).then(|| format!("{} is not installed", missing.join(" and ")))
}

fn matrix(args: &VmArgs) -> Result<Matrix> {
    for version in &args.versions {
        ensure!(KERNELS.iter().any(|kernel| kernel.name == version), "no kernel {version}: see --help");
    }
    let pgstrobe = build_release()?;
    let tests = build_tests("short")?;
    let dir = target_dir().join("vm");
    fs::create_dir_all(&dir)?;
    let shared = dir.join("shared.cpio");
    image::write_shared(&shared, &pgstrobe, &tests)?;

    let wanted = KERNELS
        .iter()
        .filter(|kernel| args.versions.is_empty() || args.versions.iter().any(|version| version == kernel.name));
    let (mut here, mut missing) = (Vec::new(), Vec::new());
    for kernel in wanted {
        match kernel.files() {
            Ok(files) => here.push((kernel, files)),
            Err(error) => missing.push(format!("{}: {error:#}", kernel.name)),
        }
    }
    let run =
        |(kernel, files): &(&Kernel, kernels::Files)| run_kernel(kernel, files, &dir, &shared, args.test.as_deref());
    let outcomes = one_per_cpu(&here, &run)?;
    let _ = fs::remove_file(&shared);
    println!();
    outcomes.iter().for_each(Outcome::print);
    let all = args.test.is_none() && outcomes.len() == KERNELS.len();
    if args.test.is_none() {
        record(&outcomes)?;
    }
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| !outcome.failures().is_empty())
        .map(|outcome| outcome.kernel.as_str())
        .collect();
    let verdict = match failed.is_empty() {
        false => Err(anyhow::anyhow!("failed on {}", failed.join(", "))),
        true if all => outcome::check_matrix(&outcomes),
        true => Ok(()),
    };
    Ok(Matrix { outcomes, missing, verdict })
}

/// Does the work for each, in as many threads as there are CPUs (a machine emulates with one thread); results in the order
/// given, or the first error.
fn one_per_cpu<T: Sync, R: Send>(all: &[T], work: &(dyn Fn(&T) -> Result<R> + Sync)) -> Result<Vec<R>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(all.len());
    let next = AtomicUsize::new(0);
    let mut results = thread::scope(|scope| {
        let one = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                match all.get(at) {
                    Some(one) => done.push((at, work(one))),
                    None => return done,
                }
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let ended = running.into_iter().flat_map(|thread| thread.join().expect("no panic"));
        ended.collect::<Vec<_>>()
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn run_kernel(
    kernel: &Kernel,
    files: &kernels::Files,
    dir: &Path,
    shared: &Path,
    filter: Option<&str>,
) -> Result<Outcome> {
    let initrd = archive(kernel, files, dir, shared, filter)?;
    let log = dir.join(format!("{}.log", kernel.name));
    eprintln!("vm {}: the serial line goes to {}", kernel.name, log.display());
    let mut last = Duration::ZERO;
    let mut failing = false;
    let ended = machine::run(&files.image, &initrd, &log, (Time::Real, LIMIT), &mut |line, at| {
        // The first lines after the tests are the pictures of those that failed.
        failing |= line == "failures:";
        let shown = line.starts_with("test ") || line.starts_with("@@booted") || line.starts_with("@@failed");
        if shown || failing && !line.starts_with("@@note") {
            let took = at.saturating_sub(last).as_secs_f32();
            eprintln!("vm {} [{:5.1} s, +{took:.1}]: {line}", kernel.name, at.as_secs_f32());
            last = at;
        }
    })?;
    let _ = fs::remove_file(&initrd);
    Ok(Outcome::read(kernel.name, &ended))
}

/// What one kernel finds at its start.
fn archive(
    kernel: &Kernel,
    files: &kernels::Files,
    dir: &Path,
    shared: &Path,
    filter: Option<&str>,
) -> Result<PathBuf> {
    let initrd = dir.join(format!("{}.cpio", kernel.name));
    fs::copy(shared, &initrd)?;
    let own = image::own(&files.disk_module, files.loop_module.as_deref(), filter)?;
    fs::OpenOptions::new().append(true).open(&initrd)?.write_all(&own)?;
    Ok(initrd)
}

/// The compiled tests of that name.
fn build_tests(name: &str) -> Result<PathBuf> {
    let begun = Instant::now();
    let mut command = cargo();
    command.args(["test", "--release", "--package", "pgstrobe-tests", "--test", name, "--no-run"]);
    command.arg("--message-format=json").stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not compile");
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let path = messages
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    eprintln!("vm: the tests are built ({:.0} s)", begun.elapsed().as_secs_f32());
    path.context("cargo names no executable of the tests")
}

/// For tables: target/support/kernels.json. Kernels that were not run this time keep what was seen before.
fn record(outcomes: &[Outcome]) -> Result<()> {
    let path = target_dir().join("support/kernels.json");
    let before: Value = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let entry = |kernel: &Kernel| {
        let now = outcomes.iter().find(|outcome| outcome.kernel == kernel.name).map(Outcome::json);
        now.or_else(|| before["kernels"].as_array()?.iter().find(|entry| entry["kernel"] == kernel.name).cloned())
    };
    let kernels: Vec<Value> = KERNELS.iter().filter_map(entry).collect();
    let text = serde_json::to_string_pretty(&json!({ "kernels": kernels }))?;
    fs::create_dir_all(path.parent().context("no directory")?)?;
    fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}
