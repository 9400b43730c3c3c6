//! `docs/messages.txt`: every sentence that a user can meet, in one file, so that a pass over the English is one read.
//!
//! Sentences are string literals of three words and more in `profiler/src`, and the help texts of the command line, which are
//! doc comments. `cargo xtask docs` writes the file; `cargo xtask house` says when it is not what the sources hold.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::source::{self, Token};

const ROOT: &str = "profiler/src";
const FILE: &str = "docs/messages.txt";
/// Where doc comments are help texts.
const HELP: [&str; 1] = ["profiler/src/cli.rs"];
/// Literals of these are no messages: samples, and generated tables.
const NOT: [&str; 4] = [
    "profiler/src/report/fixture",
    "profiler/src/postgres/wait_event/names.rs",
    "profiler/src/postgres/layout/tables.rs",
    "profiler/src/docs.rs",
];

pub fn check() -> Result<Vec<String>> {
    let committed = std::fs::read_to_string(FILE).unwrap_or_default();
    Ok(match committed == text()? {
        true => Vec::new(),
        false => vec![format!("{FILE} does not hold the messages of the sources: run `cargo xtask docs`")],
    })
}

pub fn write() -> Result<()> {
    std::fs::write(FILE, text()?).context(FILE)
}

fn text() -> Result<String> {
    let mut text = String::from("Every sentence of pgstrobe, by source file. Written by `cargo xtask docs`.\n");
    let mut only_tests: Vec<String> = Vec::new();
    for path in source::files(Path::new(ROOT))? {
        let name = path.display().to_string();
        let source = std::fs::read_to_string(&path)?;
        let (tokens, tests) = source::without_tests(&source::tokens(&source));
        let home = name.trim_end_matches("/mod.rs").trim_end_matches(".rs").to_owned();
        only_tests.extend(tests.iter().map(|test| format!("{home}/{test}")));
        if NOT
            .iter()
            .chain(only_tests.iter().map(String::as_str).collect::<Vec<_>>().iter())
            .any(|not| name.starts_with(not))
        {
            continue;
        }
        let mut sentences = if HELP.contains(&name.as_str()) { help(&source) } else { Vec::new() };
        sentences.extend(literals(&tokens));
        if !sentences.is_empty() {
            writeln!(text, "\n# {name}")?;
            for sentence in sentences {
                writeln!(text, "{sentence}")?;
            }
        }
    }
    Ok(text)
}

/// Literals that read as sentences. What a panic says is for developers.
fn literals(tokens: &[Token]) -> Vec<String> {
    let before = |at: usize, back: usize| at.checked_sub(back).map(|at| tokens[at].text.as_str());
    let strings = tokens.iter().enumerate().filter(|(_, token)| token.text.starts_with('"'));
    let told = strings.filter(|(at, _)| before(*at, 2) != Some("expect"));
    told.map(|(_, token)| plain(&token.text)).filter(|text| is_sentence(text)).collect()
}

/// A literal as it is read: without quotes, continued lines joined, lines marked.
fn plain(literal: &str) -> String {
    let inner = literal.trim_start_matches('"').trim_end_matches('"');
    let mut lines = inner.split("\\\n");
    let mut text = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        text += line.trim_start();
    }
    text.replace("\\\"", "\"").replace("\\n", " ⏎ ").replace('\n', " ⏎ ")
}

fn is_sentence(text: &str) -> bool {
    let words = text
        .split_whitespace()
        .filter(|word| word.len() > 1 && word.chars().all(|c| c.is_alphabetic() || "-,.:;'".contains(c)));
    words.filter(|word| word.chars().any(char::is_lowercase)).count() >= 3
}

/// Runs of doc comments.
fn help(source: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut open = false;
    for line in source.lines().map(str::trim) {
        let Some(text) = line.strip_prefix("/// ") else {
            open = false;
            continue;
        };
        match texts.last_mut().filter(|_| open) {
            Some(last) => *last = format!("{last} {text}"),
            None => texts.push(text.to_owned()),
        }
        open = true;
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_told_from_other_literals() {
        let source = "x(\"no such file {name}: it is gone\"); y(\"sched_switch\"); z.expect(\"this is for developers\");\n\
                      w(\"it goes \\\n      on and on\");";
        let sentences = literals(&source::tokens(source));
        assert_eq!(sentences, ["no such file {name}: it is gone", "it goes on and on"]);
        assert_eq!(help("/// One\n/// two.\nx\n/// Three."), ["One two.", "Three."]);
    }
}
