//! `cargo xtask test`: everything that must hold, in the order in which it fails fastest.

pub mod tally;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use xtask::children::is_root;
use xtask::cluster::{TEMPLATES, real_temp_dir};
use xtask::tracepoints;

use crate::demo::{build_release, cargo, target_dir};
use crate::toolchain::{self, For};
use crate::vm::Step;
use tally::{Failure, Tally};

#[derive(Args)]
pub struct TestArgs {
    /// Leave out the live tests and the virtual machines
    #[arg(long)]
    quick: bool,
    /// Only this step, as the summary names it: format, lints, codegen, unit, live, kernels, …
    #[arg(long, value_name = "STEP", conflicts_with = "quick")]
    only: Option<String>,
    /// Only the tests whose name holds this; format and lints are left out
    filter: Option<String>,
}

/// What came of one step; a skip carries its reason.
enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

pub fn run(args: &TestArgs) -> Result<()> {
    let begun = Instant::now();
    toolchain::setup(For::Test)?;
    let mut steps: Vec<(&str, Outcome)> = Vec::new();
    let mut step = |name: &'static str, work: &mut dyn FnMut() -> Result<Outcome>| {
        if args.only.as_deref().is_some_and(|only| only != name) {
            return;
        }
        eprintln!("\n== {name}");
        let begun = Instant::now();
        let outcome = work().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        eprintln!("== {name}: {} ({:.0} s)", describe(&outcome), begun.elapsed().as_secs_f32());
        steps.push((name, outcome));
    };
    if args.filter.is_none() {
        step("format", &mut format);
        step("lints", &mut lints);
        step("house", &mut || crate::house::run().map(|()| Outcome::Passed("ok".into())));
        step("codegen", &mut || match args.quick {
            true => Ok(Outcome::Skipped("--quick".into())),
            false => crate::codegen::run(true).map(|()| Outcome::Passed("ok".into())),
        });
    }
    step("unit", &mut || unit(args));
    step("live", &mut || live(args));
    if args.filter.is_none() {
        step("kernels", &mut || kernels(args));
        step("support table", &mut || support(args));
    }

    ensure!(!steps.is_empty(), "no such step: {}", args.only.as_deref().unwrap_or_default());
    eprintln!();
    let summary: Vec<String> = steps.iter().map(|(name, outcome)| format!("{name} {}", describe(outcome))).collect();
    let failed: Vec<String> = steps
        .iter()
        .filter_map(|(name, outcome)| match outcome {
            Outcome::Failed(why) => Some(format!("{name}: {why}")),
            _ => None,
        })
        .collect();
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("xtask test: {verdict} in {:.0} s: {}", begun.elapsed().as_secs_f32(), summary.join(" | "));
    // With the reasons: this is the last line, and of a long output the end is what is kept.
    ensure!(failed.is_empty(), "failed: {}", failed.join(" | "));
    Ok(())
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed(what) => what.clone(),
        Outcome::Failed(what) => format!("FAILED: {what}"),
        Outcome::Skipped(why) => format!("skipped: {why}"),
    }
}

fn format() -> Result<Outcome> {
    if !has_component("fmt") {
        return Ok(Outcome::Skipped("rustfmt is not installed".into()));
    }
    let mut ok = status(cargo().args(["fmt", "--all", "--check"]))?;
    ok &= status(cargo().args(["fmt", "--check", "--manifest-path", "profiler-ebpf/Cargo.toml"]))?;
    Ok(verdict(ok, "run `cargo fmt`"))
}

fn lints() -> Result<Outcome> {
    if !has_component("clippy") {
        return Ok(Outcome::Skipped("clippy is not installed".into()));
    }
    let mut ok = status(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // For the host: there is no clippy with a `core` for the programs' own target (docs/journal/0010). Their source takes
    // features of the language that are not stable.
    let mut ebpf = cargo();
    ebpf.args(["clippy", "--bin", "pgstrobe", "--manifest-path", "profiler-ebpf/Cargo.toml"]);
    ebpf.arg("--target-dir").arg(target_dir().join("ebpf-lints"));
    ok &= status(ebpf.args(["--", "-D", "warnings"]).env("RUSTC_BOOTSTRAP", "1"))?;
    Ok(verdict(ok, "see above"))
}

fn unit(args: &TestArgs) -> Result<Outcome> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--exclude", "pgstrobe-tests", "--no-fail-fast"]);
    command.args(&args.filter);
    tests(&mut command, None)
}

fn live(args: &TestArgs) -> Result<Outcome> {
    if args.quick {
        return Ok(Outcome::Skipped("--quick".into()));
    }
    if !is_root() {
        return Ok(Outcome::Skipped("loading eBPF programs needs root".into()));
    }
    let binary = build_release()?;
    let _kept = tracepoints::keep(&binary).inspect_err(|error| eprintln!("tracepoints are not kept: {error:#}"));
    let skips = target_dir().join("skipped-tests");
    let _ = std::fs::remove_file(&skips);
    let mut command = cargo();
    // One at a time: each measures the machine.
    command.args(["test", "--release", "--package", "pgstrobe-tests", "--no-fail-fast", "--"]);
    command.args(["--test-threads=1"]).args(&args.filter);
    let templates = tempfile::Builder::new().prefix("pgstrobe-templates-").tempdir_in(real_temp_dir())?;
    command.env("PGSTROBE_BIN", binary).env("PGSTROBE_SKIPS", &skips).env(TEMPLATES, templates.path());
    tests(&mut command, Some(&skips))
}

/// The short tests in virtual machines; these need no root.
fn kernels(args: &TestArgs) -> Result<Outcome> {
    if args.quick {
        return Ok(Outcome::Skipped("--quick".into()));
    }
    match crate::vm::step()? {
        Step::Impossible(reason) => Ok(Outcome::Skipped(reason)),
        Step::Ran { summary, good: true } => Ok(Outcome::Passed(summary)),
        Step::Ran { summary, good: false } => Ok(Outcome::Failed(summary)),
    }
}

/// What the README says of kernels and servers is what was just seen.
fn support(args: &TestArgs) -> Result<Outcome> {
    if args.quick {
        return Ok(Outcome::Skipped("--quick".into()));
    }
    match crate::support::table()? {
        Some(table) => crate::support::compare(&table).map(|()| Outcome::Passed("ok".into())),
        None => Ok(Outcome::Skipped("a part of the matrix did not run".into())),
    }
}

/// Runs cargo's tests with the output let through, the time since the line before behind that of each test, and adds up what
/// the harness says.
fn tests(command: &mut Command, skips: Option<&Path>) -> Result<Outcome> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let mut tally = Tally::default();
    let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut before = Instant::now();
    for line in stdout.lines() {
        let line = line?;
        let took = std::mem::replace(&mut before, Instant::now()).elapsed().as_secs_f32();
        tally.line(&line);
        match line.starts_with("test ") && line.contains(" ... ") {
            true => println!("{line} ({took:.1} s)"),
            false => println!("{line}"),
        }
        std::io::stdout().flush()?;
    }
    let ok = child.wait()?.success();
    let skipped: Vec<String> = skips.map(read_skips).unwrap_or_default();
    for reason in &skipped {
        println!("skipped: {reason}");
    }
    let mut summary = format!("{} passed", tally.passed - skipped.len());
    if !skipped.is_empty() {
        summary += &format!(", {} skipped ({})", skipped.len(), skipped.join("; "));
    }
    if ok {
        return Ok(Outcome::Passed(summary));
    }
    let failures: Vec<String> = tally.failures.iter().map(Failure::describe).collect();
    Ok(Outcome::Failed(format!("{} failed [{}], {summary}", tally.failed, failures.join("; "))))
}

fn read_skips(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_string).collect()
}

fn verdict(ok: bool, hint: &str) -> Outcome {
    match ok {
        true => Outcome::Passed("ok".into()),
        false => Outcome::Failed(hint.into()),
    }
}

fn has_component(name: &str) -> bool {
    let mut command = cargo();
    command.args([name, "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn status(command: &mut Command) -> Result<bool> {
    Ok(command.stdin(Stdio::null()).status().context("cannot run cargo")?.success())
}
