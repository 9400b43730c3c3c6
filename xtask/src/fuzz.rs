//! `cargo xtask fuzz`: the property tests of the parsers with millions of random inputs each, and how many it were.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;
use xtask::children::{check_interrupt, watch_interrupts};

use crate::demo::cargo;

#[derive(Args)]
pub struct FuzzArgs {
    /// Only the properties whose name holds this
    name: Option<String>,
    /// Inputs for each property
    #[arg(long, default_value_t = 10_000_000)]
    cases: u64,
    /// End after so many minutes, an equal share for each property
    #[arg(long)]
    minutes: Option<f64>,
}

/// Inputs of one run of a test: a run takes new random numbers, and between two of them there is a look at the clock.
const RUN: u64 = 50_000;

pub fn run(args: &FuzzArgs) -> Result<()> {
    watch_interrupts();
    let tests = build()?;
    let properties = properties(&tests, args.name.as_deref().unwrap_or_default())?;
    ensure!(!properties.is_empty(), "no property has this name");
    let share = args.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0 / properties.len() as f64));
    let mut failed = Vec::new();
    for property in &properties {
        let begun = Instant::now();
        let mut done = 0;
        while done < args.cases && share.is_none_or(|share| begun.elapsed() < share) {
            check_interrupt()?;
            let cases = RUN.min(args.cases - done);
            let mut test = Command::new(&tests);
            // Where a failing case is to be written is told by paths from there.
            test.args([property, "--exact"]).current_dir("profiler").env("PROPTEST_CASES", cases.to_string());
            let output = test.stdin(Stdio::null()).output().context("running the tests")?;
            if !output.status.success() {
                let said = [output.stdout, output.stderr].concat();
                println!("{property} fails after {done} good inputs:\n{}", String::from_utf8_lossy(&said));
                failed.push(property.as_str());
                break;
            }
            done += cases;
        }
        println!("{property}: {done} inputs in {:.0} s", begun.elapsed().as_secs_f32());
    }
    ensure!(failed.is_empty(), "failed: {}; commit what is new below profiler/proptest-regressions", failed.join(", "));
    Ok(())
}

/// The compiled unit tests.
fn build() -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["test", "--release", "--package", "pgstrobe", "--lib", "--no-run", "--message-format=json"]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not compile");
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let path = messages
        .filter(|message| message["target"]["name"] == "pgstrobe" && message["profile"]["test"] == true)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.context("cargo names no executable of the tests")
}

/// Tests right in a module `properties`; those in a module below it take no random input.
fn properties(tests: &Path, name: &str) -> Result<Vec<String>> {
    let output = Command::new(tests).args(["--list", "--format", "terse"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let wanted = all.filter(|test| {
        let of = test.split_once("properties::").map(|(_, of)| of);
        of.is_some_and(|of| !of.contains("::")) && test.contains(name)
    });
    Ok(wanted.map(str::to_owned).collect())
}
