//! The support table of the README, made of what the live tests and the virtual machines saw.
//!
//! Both leave a file below `target/support/`. The table names no minor versions: it changes when something works that did
//! not, or the other way round, and not when a distribution moves on.

use std::{fmt::Write, fs};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use xtask::packages::target_dir;

const BEGIN: &str = "<!-- support: written by `cargo xtask support` -->\n";
const END: &str = "<!-- support: end -->\n";
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

#[derive(Args)]
pub struct SupportArgs {
    /// Compare, and fail when the README says something else
    #[arg(long)]
    check: bool,
}

pub fn run(args: &SupportArgs) -> Result<()> {
    let table = table()?.context("no results: run `cargo xtask test` first")?;
    if args.check {
        return compare(&table);
    }
    let text = fs::read_to_string(README)?;
    let (before, _, after) = split(&text)?;
    fs::write(README, format!("{before}{BEGIN}{table}{END}{after}"))?;
    Ok(())
}

/// `None` where a part of the matrix did not run.
pub fn table() -> Result<Option<String>> {
    let (Some(kernels), Some(servers)) = (results("kernels.json")?, results("postgres.json")?) else { return Ok(None) };
    let kernels = kernels["kernels"].as_array().cloned().unwrap_or_default();
    let servers = servers.as_array().cloned().unwrap_or_default();
    let skipped = servers.iter().any(|server| server["status"] == "skipped");
    if kernels.len() < crate::vm::KERNELS.len() || servers.len() < xtask::servers::BUILDS.len() || skipped {
        return Ok(None);
    }
    Ok(Some(format!("{}\n{}", of_kernels(&kernels)?, of_servers(&servers)?)))
}

/// Whether the README holds this table.
pub fn compare(table: &str) -> Result<()> {
    let text = fs::read_to_string(README)?;
    let (_, committed, _) = split(&text)?;
    if committed != table {
        println!("{table}");
        let new = table.lines().find(|line| !committed.lines().any(|known| known == *line)).unwrap_or("fewer lines");
        bail!(
            "the README's support table is not what this run saw (`{new}`); if that is right, run `cargo xtask support`"
        );
    }
    Ok(())
}

fn split(text: &str) -> Result<(&str, &str, &str)> {
    let (before, rest) = text.split_once(BEGIN).context("README.md has no place for the support table")?;
    let (table, after) = rest.split_once(END).context("the support table in README.md has no end")?;
    Ok((before, table, after))
}

fn results(name: &str) -> Result<Option<Value>> {
    let path = target_dir().join("support").join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?)),
        Err(_) => Ok(None),
    }
}

fn of_kernels(kernels: &[Value]) -> Result<String> {
    let mut rows = String::new();
    for kernel in kernels {
        let name = match kernel["kernel"].as_str().context("a kernel's name")? {
            "sid" => "newest of Debian's sid",
            name => name,
        };
        let used = hooks(&kernel["hooks"]["statement"]);
        let tests = kernel["tests"].as_object().context("a kernel's tests")?;
        let with = |result: &str| {
            let names = tests.iter().filter(|(_, test)| test["result"] == result).map(|(name, _)| name.as_str());
            names.collect::<Vec<_>>()
        };
        let passed = |test: &str| tests.get(test).is_some_and(|test| test["result"] == "passed");
        let ways = [("tp_btf", "way_tp_btf"), ("fexit", "way_fexit"), ("system calls", "way_syscall")];
        let chosen = kernel["way"].as_str().unwrap_or_default();
        let others = ways.iter().filter(|(_, test)| passed(test) && *test != format!("way_{chosen}"));
        let ways: Vec<&str> = others.map(|(name, _)| *name).collect();
        let failed = with("failed");
        let verdict = if failed.is_empty() { "yes".into() } else { format!("no: {}", failed.join(", ")) };
        writeln!(rows, "| {name} | {used} | {} | {verdict} |", ways.join(", "))?;
    }
    Ok(format!(
        "| Linux | statements by | other ways that count the same | all short tests pass |\n|---|---|---|---|\n{rows}"
    ))
}

fn hooks(probe: &Value) -> String {
    let names = probe["hooks"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(|name| format!("`{}`", name.replace('|', " or "))).collect::<Vec<_>>().join(", ")
}

fn of_servers(servers: &[Value]) -> Result<String> {
    let mut text = String::from("| PostgreSQL | build | boundaries | checks that hold |\n|---|---|---|---|\n");
    let mut servers: Vec<&Value> = servers.iter().collect();
    servers.sort_by_key(|server| (server["major"].as_u64(), server["kind"].as_str().map(String::from)));
    for server in servers {
        let (major, kind) = (server["major"].as_u64().context("major")?, server["kind"].as_str().context("kind")?);
        let place = if server["own_root"] == true { ", in a container" } else { "" };
        let checks = server["checks"].as_object();
        let mut ways: Vec<&str> = Vec::new();
        for way in
            checks.into_iter().flatten().flat_map(|(_, ways)| ways.as_array()).flatten().filter_map(Value::as_str)
        {
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        let held = checks.into_iter().flatten().map(|(check, _)| check.as_str()).collect::<Vec<_>>().join(", ");
        let held = match server["status"].as_str() {
            Some("passed") => held,
            status => format!("{}: {held}", status.unwrap_or("?")),
        };
        writeln!(text, "| {major} | {kind}{place} | {} | {held} |", ways.join(", "))?;
    }
    Ok(text)
}
