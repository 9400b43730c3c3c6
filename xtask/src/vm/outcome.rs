//! What the tests inside a virtual machine said, and what must hold over all kernels.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::machine::Ended;
use crate::test::tally::{Failure, Tally};

/// The ways to see statements, each with the test that allows only this one.
const WAYS: [(&str, &str); 3] = [("tp_btf", "way_tp_btf"), ("fexit", "way_fexit"), ("syscall", "way_syscall")];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    Passed,
    Failed,
    /// Impossible on this kernel; the test has asserted the reason.
    Skipped(String),
}

/// One kernel's results.
#[derive(Debug)]
pub struct Outcome {
    pub kernel: String,
    pub release: String,
    pub wall: Duration,
    pub tests: BTreeMap<String, Test>,
    /// By test and probe: the hooks in use, and the reason for them.
    hooks: BTreeMap<String, Map<String, Value>>,
    /// By test: how many runs of programs the kernel left out, and how many reads of memory failed.
    lost: BTreeMap<String, [u64; 2]>,
    /// What the tests that failed say of it.
    reasons: Vec<Failure>,
    /// What else is wrong: no boot, no end, no results.
    faults: Vec<String>,
}

impl Outcome {
    pub fn read(kernel: &str, ended: &Ended) -> Self {
        let mut outcome = Self {
            kernel: kernel.into(),
            release: String::new(),
            wall: ended.wall,
            tests: BTreeMap::new(),
            hooks: BTreeMap::new(),
            lost: BTreeMap::new(),
            reasons: Vec::new(),
            faults: Vec::new(),
        };
        let mut tally = Tally::default();
        let (mut announced, mut results, mut exit, mut off) = (None, 0, None, false);
        // A test between its name and its verdict, where what its processes say stands between the two.
        let mut begun: Option<String> = None;
        for line in &ended.lines {
            let whole = begun.take_if(|_| is_verdict(line)).map(|name| format!("test {name} ... {line}"));
            let line = whole.as_ref().unwrap_or(line);
            tally.line(line);
            if let Some(release) = line.strip_prefix("@@booted ") {
                outcome.release = release.into();
            } else if let Some(code) = line.strip_prefix("@@ended ") {
                exit = Some(code.to_owned());
            } else if let Some(skip) = line.strip_prefix("@@skip ") {
                outcome.skip(skip);
            } else if let Some(note) = line.strip_prefix("@@note ") {
                outcome.note(note);
            } else if let Some(fault) = line.strip_prefix("@@failed ") {
                outcome.faults.push(fault.into());
            } else if line == "@@off" {
                off = true;
            } else if let Some((name, verdict)) = result(line) {
                results += 1;
                outcome.tests.insert(name.into(), if verdict { Test::Passed } else { Test::Failed });
            } else if let Some((name, _)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
                begun = Some(name.to_owned());
            } else if let Some(count) = line.strip_prefix("running ") {
                announced = count.split(' ').next().and_then(|n| n.parse().ok());
            }
        }
        outcome.reasons = tally.failures;
        let faults = &mut outcome.faults;
        if outcome.release.is_empty() {
            faults.push("it did not boot".into());
        } else if ended.overdue {
            faults.push("it was killed at the limit of its time".into());
        } else if !off {
            faults.push("it ended before the tests did".into());
        } else if announced != Some(results) {
            faults.push(format!("{announced:?} tests announced, {results} results"));
        } else if exit.as_deref() != Some("0") && !outcome.tests.values().any(|test| *test == Test::Failed) {
            faults.push(format!("the tests ended with {exit:?}"));
        }
        outcome
    }

    /// `short::way_fexit: reason`, as the harness writes it.
    fn skip(&mut self, line: &str) {
        let (test, reason) = line.split_once(": ").unwrap_or((line, ""));
        let test = test.rsplit("::").next().unwrap_or(test);
        // To libtest it has passed; one that has not is none the better for a reason.
        if let Some(result @ Test::Passed) = self.tests.get_mut(test) {
            *result = Test::Skipped(reason.into());
        }
    }

    fn note(&mut self, line: &str) {
        let note: Value = serde_json::from_str(line).unwrap_or_default();
        let (Some(test), Some(kind)) = (note["test"].as_str(), note["kind"].as_str()) else { return };
        match (kind, &note["value"]) {
            ("hooks", Value::Object(hooks)) => drop(self.hooks.insert(test.into(), hooks.clone())),
            ("lost", counts) => {
                let count = |n: usize| counts[n].as_u64().unwrap_or(u64::MAX);
                self.lost.insert(test.into(), [count(0), count(1)]);
            }
            _ => {}
        }
    }

    /// How the default profile saw each probe, and how the boundary by function entry was seen.
    fn used(&self) -> BTreeMap<&str, &Value> {
        let of = |test: &str, only: fn(&str) -> bool| {
            let probes = self.hooks.get(test).into_iter().flatten();
            probes.filter(move |(probe, _)| only(probe)).map(|(probe, value)| (probe.as_str(), value))
        };
        let default = of("statements", |probe| probe != "statement-entry");
        default.chain(of("statements_by_entry", |probe| probe == "statement-entry")).collect()
    }

    /// The way the default profile took.
    fn chosen_way(&self) -> Option<&'static str> {
        let hook = self.hooks.get("statements")?["statement"]["hooks"][0].as_str()?;
        let prefixes = [("tp_btf/", "tp_btf"), ("fexit/", "fexit"), ("tracepoint/", "syscall")];
        prefixes.iter().find(|(prefix, _)| hook.starts_with(prefix)).map(|(_, way)| *way)
    }

    pub fn failures(&self) -> Vec<String> {
        let describe = |name: &String| {
            let known = self.reasons.iter().find(|failure| failure.name == *name);
            known.map_or_else(|| name.clone(), Failure::describe)
        };
        let failed = self.tests.iter().filter(|(_, test)| **test == Test::Failed).map(|(name, _)| describe(name));
        let mut all: Vec<String> = failed.chain(self.faults.iter().cloned()).collect();
        // Debian's kernels have function tracing: nothing excuses a refusal here.
        if let Some(Test::Skipped(reason)) = self.tests.get("way_fexit")
            && !reason.contains("does not pass through")
        {
            all.push(format!("way_fexit was skipped: {reason}"));
        }
        all
    }

    pub fn summary(&self) -> String {
        let count = |wanted: fn(&Test) -> bool| self.tests.values().filter(|test| wanted(test)).count();
        let mut text = format!("{} passed", count(|test| *test == Test::Passed));
        for (name, test) in &self.tests {
            if let Test::Skipped(reason) = test {
                text += &format!(", {name} skipped ({reason})");
            }
        }
        for (n, what) in ["runs of programs left out by the kernel", "reads of memory failed"].iter().enumerate() {
            let sum: u64 = self.lost.values().map(|lost| lost[n]).sum();
            if sum > 0 {
                text += &format!(", {sum} {what}");
            }
        }
        let failures = self.failures();
        if !failures.is_empty() {
            text += &format!(", FAILED: {}", failures.join("; "));
        }
        text
    }

    pub fn print(&self) {
        println!("kernel {} ({}), {:.0} s: {}", self.kernel, self.release, self.wall.as_secs_f32(), self.summary());
        for (probe, value) in self.used() {
            let hooks: Vec<&str> = value["hooks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let hooks = match hooks.len() {
                0 => "none".to_owned(),
                n if n > 4 => format!("{} and {} more", hooks[0], n - 1),
                _ => hooks.join(", "),
            };
            let reason = value["reason"].as_str().map_or(String::new(), |reason| format!(" ({reason})"));
            println!("  {probe}: {hooks}{reason}");
        }
    }

    pub fn json(&self) -> Value {
        let describe = |test: &Test| match test {
            Test::Passed => json!({ "result": "passed" }),
            Test::Failed => json!({ "result": "failed" }),
            Test::Skipped(reason) => json!({ "result": "skipped", "reason": reason }),
        };
        let tests: BTreeMap<_, _> = self.tests.iter().map(|(name, test)| (name, describe(test))).collect();
        json!({
            "kernel": self.kernel, "release": self.release, "seconds": self.wall.as_secs(), "tests": tests,
            "way": self.chosen_way(), "hooks": self.used(), "faults": self.failures(),
            "lost": self.lost,
        })
    }
}

/// The rest of a line that something came into.
fn is_verdict(line: &str) -> bool {
    line == "ok" || line == "FAILED"
}

/// `test NAME ... ok`
fn result(line: &str) -> Option<(&str, bool)> {
    let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
    match verdict {
        "ok" => Some((name, true)),
        _ if verdict.starts_with("FAILED") => Some((name, false)),
        _ => None,
    }
}

/// Over all kernels, every way to see statements was counted with, and both of the better ones were a first choice.
pub fn check_matrix(outcomes: &[Outcome]) -> Result<()> {
    for (way, test) in WAYS {
        let taken = outcomes.iter().any(|outcome| outcome.tests.get(test) == Some(&Test::Passed));
        ensure!(taken, "no kernel counted statements by {way}");
    }
    for way in ["tp_btf", "fexit"] {
        if !outcomes.iter().any(|outcome| outcome.chosen_way() == Some(way)) {
            bail!("on no kernel statements were seen by {way} without being asked for");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Outcome {
        let lines = text.lines().map(str::to_owned).collect();
        Outcome::read("6.1", &Ended { lines, wall: Duration::from_secs(1), overdue: false })
    }

    const GOOD: &str = "\
@@booted 6.1.0
running 2 tests
test statements ... ok
test way_tp_btf ... ok
test result: ok. 2 passed; 0 failed
@@ended 0
@@skip short::way_tp_btf: tp_btf: no such tracepoint
@@note {\"test\":\"statements\",\"kind\":\"hooks\",\"value\":{\"statement\":{\"hooks\":[\"fexit/sock_recvmsg\"]}}}
@@off";

    #[test]
    fn a_whole_run() {
        let outcome = read(GOOD);
        assert!(outcome.failures().is_empty(), "{outcome:?}");
        assert_eq!(outcome.chosen_way(), Some("fexit"));
        assert!(outcome.tests.values().any(|test| matches!(test, Test::Skipped(reason) if reason.contains("no such"))));
        assert!(check_matrix(&[outcome]).is_err());
    }

    #[test]
    fn what_a_server_says_may_stand_before_a_verdict() {
        let say = |verdict: &str| {
            GOOD.replacen("statements ... ok", &format!("statements ... ERROR:  no\nHINT:  x\n{verdict}"), 1)
        };
        assert!(read(&say("ok")).failures().is_empty());
        assert_eq!(read(&say("FAILED")).failures(), ["statements"]);
        assert!(!read(&say("")).failures().is_empty(), "no verdict at all");
    }

    #[test]
    fn a_run_that_broke_off_is_no_success() {
        for cut in ["@@off", "@@booted 6.1.0\n", "test way_tp_btf ... ok\n"] {
            assert!(!read(&GOOD.replacen(cut, "", 1)).failures().is_empty(), "without {cut}");
        }
        assert!(!read(&GOOD.replacen("ended 0", "ended 139", 1)).failures().is_empty());
        assert!(!read(&GOOD.replacen("statements ... ok", "statements ... FAILED", 1)).failures().is_empty());
    }
}
