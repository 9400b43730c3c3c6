//! What is linked in holds `deny.toml`: its list of licences and its banned crates. See docs/journal/0009.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The workspaces: userspace, and the eBPF programs.
/// What pgstrobe is built for.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

const MANIFESTS: [&str; 2] = ["Cargo.toml", "profiler-ebpf/Cargo.toml"];

pub fn check() -> Result<Vec<String>> {
    let rules = std::fs::read_to_string("deny.toml").context("deny.toml")?;
    let allowed = list(&rules, "allow").context("deny.toml has no list of licences")?;
    let banned = names(&rules);
    ensure!(!allowed.is_empty() && !banned.is_empty(), "deny.toml allows or bans nothing");
    let mut complaints = BTreeSet::new();
    for manifest in MANIFESTS {
        for package in packages(manifest)? {
            let name = package["name"].as_str().unwrap_or_default();
            let licence = package["license"].as_str().unwrap_or_default();
            if !holds(licence, &|one| allowed.iter().any(|allowed| allowed == one)) {
                complaints.insert(format!("{name} is licensed as `{licence}`, which deny.toml does not allow"));
            }
            if banned.iter().any(|banned| banned == name) {
                complaints.insert(format!("{name} is linked in, which deny.toml forbids"));
            }
        }
    }
    Ok(complaints.into_iter().collect())
}

/// The packages that are compiled for this platform, build scripts and tests included.
fn packages(manifest: &str) -> Result<Vec<Value>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest]);
    command.args(["--filter-platform", PLATFORM]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata --manifest-path {manifest} ended with {}", output.status);
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let used: BTreeSet<String> =
        array(&metadata["resolve"]["nodes"]).iter().filter_map(|node| node["id"].as_str().map(String::from)).collect();
    let mut packages = array(&metadata["packages"]);
    packages.retain(|package| package["id"].as_str().is_some_and(|id| used.contains(id)));
    ensure!(!packages.is_empty(), "cargo metadata --manifest-path {manifest} names no package");
    Ok(packages)
}

/// The strings of `key = [ … ]`.
fn list(toml: &str, key: &str) -> Option<Vec<String>> {
    let (_, rest) = toml.split_once(&format!("\n{key} = ["))?;
    let (body, _) = rest.split_once(']')?;
    Some(body.split('"').skip(1).step_by(2).map(String::from).collect())
}

/// The names of the banned crates: `{ name = "…", … }`.
fn names(toml: &str) -> Vec<String> {
    let entries = toml.split("{ name = \"").skip(1);
    entries.filter_map(|entry| entry.split('"').next()).map(String::from).collect()
}

/// Whether an SPDX expression (or the older form with a slash) leaves a choice of allowed licences.
fn holds(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let holds = either(&words, &mut at, allowed);
    holds && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut holds = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        holds |= both(words, at, allowed);
    }
    holds
}

fn both(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut holds = single(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        holds &= single(words, at, allowed);
    }
    holds
}

fn single(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let holds = either(words, at, allowed);
        *at += 1;
        return holds;
    }
    match words.get(*at..*at + 2) {
        Some(["WITH", exception]) => {
            *at += 2;
            allowed(&format!("{word} WITH {exception}"))
        }
        _ => allowed(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_leave_a_choice_or_not() {
        let holds = |expression| super::holds(expression, &|one| ["MIT", "Zlib", "A WITH E"].contains(&one));
        for good in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(MIT OR X) AND Zlib", "A WITH E OR X"] {
            assert!(holds(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "A", "A WITH F", "(MIT OR X) AND Y", "MIT MIT"] {
            assert!(!holds(bad), "{bad}");
        }
    }

    #[test]
    fn lists_of_the_file() {
        let toml = "x\nallow = [\n \"MIT\",\n \"0BSD\",\n]\ndeny = [\n { name = \"a\", reason = \"b\" },\n]";
        assert_eq!(list(toml, "allow"), Some(vec!["MIT".into(), "0BSD".into()]));
        assert_eq!(names(toml), ["a"]);
    }
}
