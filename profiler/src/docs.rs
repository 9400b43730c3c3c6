//! Blocks of the documents that are generated from the code: the usage and the table of probes in the README. Whatever else
//! is to be written once is a line in [`BLOCKS`].
//!
//! A block stands between `<!-- generated: NAME -->` and `<!-- generated: end -->`. The test below holds the committed text
//! against the code; `cargo xtask docs` runs it so that it writes instead.

use std::{fmt::Write as _, fs, path::PathBuf};

use clap::CommandFactory as _;

use crate::{
    cli::Cli,
    probes::{PROBES, Probe, Way},
};

/// A generated block: its document, from the root of the repository, its name, and what stands in it.
struct Block {
    document: &'static str,
    name: &'static str,
    text: fn() -> String,
}

const BLOCKS: &[Block] = &[
    Block { document: "README.md", name: "usage", text: usage },
    Block { document: "README.md", name: "probes", text: probes },
];

/// Set by `cargo xtask docs`: write the blocks in place of comparing them.
const WRITE: &str = "PGSTROBE_WRITE_DOCS";

#[test]
fn generated_blocks_are_what_the_code_says() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    for block in BLOCKS {
        let path = root.join(block.document);
        let document = fs::read_to_string(&path).expect(block.document);
        let begin = format!("<!-- generated: {} -->\n", block.name);
        let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no {begin} in {}", block.document));
        let (committed, after) = rest.split_once("<!-- generated: end -->").expect("a block has an end");
        let text = (block.text)();
        if std::env::var_os(WRITE).is_some() {
            fs::write(&path, format!("{before}{begin}{text}<!-- generated: end -->{after}")).expect(block.document);
        } else {
            assert!(
                committed == text,
                "{}: {} is not what the code says; run `cargo xtask docs`",
                block.document,
                block.name
            );
        }
    }
}

/// The help of the program and of its commands, as a terminal of 100 columns shows it.
fn usage() -> String {
    let mut text = String::from("```\n");
    let mut cli = Cli::command().term_width(100);
    cli.build();
    let commands = cli.get_subcommands().filter(|command| matches!(command.get_name(), "report" | "trace"));
    for command in commands {
        // The examples stand above.
        let mut command = command.clone().term_width(100).after_help("");
        for line in command.render_help().to_string().trim_end().lines() {
            writeln!(text, "{}", line.trim_end()).expect("a string grows");
        }
        text.push('\n');
    }
    format!("{}\n```\n", text.trim_end())
}

fn probes() -> String {
    let mut text = String::from(
        "| probe | level | what it shows | hooks, and what stands in for them | without it |\n|---|---|---|---|---|\n",
    );
    for probe in PROBES {
        let (name, level, help) = (probe.name, probe.level.name(), probe.help);
        writeln!(text, "| `{name}` | {level} | {help} | {} | {} |", ways(probe), probe.without)
            .expect("a string grows");
    }
    text
}

/// The ways of a probe, the best first, each later one with what it loses.
fn ways(probe: &Probe) -> String {
    let Some((first, others)) = probe.ways.split_first() else { return String::new() };
    let mut text = hooks(&points(first));
    let all = points(first);
    for way in others {
        let left_out: Vec<String> = all.iter().filter(|point| !points(way).contains(point)).cloned().collect();
        let fewer = points(way).len() + left_out.len() == all.len();
        let what = if fewer { format!("without {}", hooks(&left_out)) } else { hooks(&points(way)) };
        write!(text, "; else {what} (loses: {})", way.loses).expect("a string grows");
    }
    text
}

/// The places of a way, as `pgstrobe probes` shows them. Second programs of a tracepoint are no place of their own.
fn points(way: &Way) -> Vec<String> {
    way.hooks.iter().map(|hook| hook.point.describe()).filter(|point| !point.ends_with(" (again)")).collect()
}

/// Places by kind: `tp_btf`: `sched_switch`, …
fn hooks(points: &[String]) -> String {
    let mut kinds: Vec<(&str, Vec<String>)> = Vec::new();
    for point in points {
        let (mut kind, name) = point.split_once('/').unwrap_or(("", point));
        let mut name = name;
        if let Some(probe) = name.strip_prefix("usdt:") {
            (kind, name) = ("USDT", probe);
        }
        if let Some(call) = name.strip_prefix("syscalls/") {
            kind = "system-call tracepoints";
            name = call.trim_start_matches("sys_enter_").trim_start_matches("sys_exit_");
        }
        let shown = format!("`{}`", name.replace('|', "` or `"));
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, names)) if names.contains(&shown) => {}
            Some((_, names)) => names.push(shown),
            None => kinds.push((kind, vec![shown])),
        }
    }
    let kinds = kinds.iter().map(|(kind, names)| format!("{kind} {}", names.join(", ")));
    kinds.collect::<Vec<_>>().join("; ")
}
