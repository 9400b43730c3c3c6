//! Which part of the profiler may use which. Parts are the top-level modules of `profiler/src`; the table below is the law,
//! each row with its reason. Code for tests alone may look anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use anyhow::Result;

use super::source::{self, Token};

const ROOT: &str = "profiler/src";

/// A part, the parts it may use, and why no others.
struct Part {
    name: &'static str,
    uses: &'static [&'static str],
    why: &'static str,
}

/// A crate that only some parts may name, and why.
struct Guarded {
    name: &'static str,
    parts: &'static [&'static str],
    why: &'static str,
}

const PARTS: &[Part] = &[
    Part {
        name: "aggregate",
        uses: &["cause", "hist", "kernel", "ledger", "postgres", "report", "time", "vocabulary"],
        why: "it makes a report's model of records and facts; it knows neither aya nor the form of the output",
    },
    Part {
        name: "cause",
        uses: &["kernel", "maps", "vocabulary"],
        why: "a cause is made of the facts of a sleep alone",
    },
    Part {
        name: "cli",
        uses: &["config", "kernel", "postgres", "probes", "watch"],
        why: "it only translates the command line",
    },
    Part { name: "config", uses: &["kernel", "postgres", "probes"], why: "it is data that is already valid" },
    Part {
        name: "doctor",
        uses: &["kernel", "postgres", "probes", "run", "words"],
        why: "it tells facts; it needs no profile",
    },
    Part {
        name: "findings",
        uses: &["hist", "report", "vocabulary", "words"],
        why: "a finding is a function of the report alone, wherever that came from",
    },
    Part { name: "hist", uses: &["report", "time"], why: "it only adds values and summarises them into the model" },
    Part {
        name: "instrument",
        uses: &["kernel", "maps", "pace", "probes", "report", "time"],
        why: "it loads, attaches and drains; what a record means is not its business",
    },
    Part { name: "kernel", uses: &[], why: "it holds facts about the kernel and knows of nobody who uses them" },
    Part {
        name: "ledger",
        uses: &["cause", "postgres", "report", "time", "vocabulary"],
        why: "it only names the parts of an account",
    },
    Part { name: "maps", uses: &[], why: "it is what a map is to those who look into one" },
    Part { name: "pace", uses: &[], why: "it only says when something is due" },
    Part { name: "page", uses: &["words"], why: "it is the form of what is shown, and knows of no report" },
    Part {
        name: "postgres",
        uses: &["vocabulary"],
        why: "it holds facts about servers and knows of nobody who uses them",
    },
    Part { name: "probes", uses: &[], why: "a probe is data" },
    Part {
        name: "report",
        uses: &["findings", "hist", "page", "vocabulary", "words"],
        why: "it is a function of what was measured, wherever that came from (findings: of the sample alone)",
    },
    Part {
        name: "run",
        uses: &["cli", "config", "doctor", "kernel", "postgres", "probes", "report", "say", "ticker", "watch", "words"],
        why: "it only wires the parts of a command together",
    },
    Part { name: "say", uses: &["words"], why: "it only writes a sentence to the standard error" },
    Part { name: "ticker", uses: &[], why: "it is a clock" },
    Part { name: "time", uses: &[], why: "it adds and subtracts, whatever the sums are of" },
    Part { name: "vocabulary", uses: &[], why: "it is the names in a report, each once" },
    Part {
        name: "watch",
        uses: &[
            "aggregate",
            "cause",
            "config",
            "findings",
            "hist",
            "instrument",
            "kernel",
            "maps",
            "pace",
            "postgres",
            "probes",
            "report",
            "time",
            "vocabulary",
            "words",
        ],
        why: "it ties the parts together and does not know the command line",
    },
    Part { name: "words", uses: &[], why: "it writes numbers and lines, of whatever they are" },
];

const GUARDED: &[Guarded] = &[
    Guarded {
        name: "aya",
        parts: &["instrument"],
        why: "programs, maps and links are the business of `instrument` alone",
    },
    Guarded { name: "tokio_postgres", parts: &["postgres"], why: "only `--dsn` asks the server by SQL" },
    Guarded { name: "pg_query", parts: &["postgres"], why: "texts without literals are made in one place" },
    Guarded { name: "clap", parts: &["cli", "config", "probes"], why: "the command line is read in one place" },
    Guarded { name: "indicatif", parts: &["run"], why: "only a command draws on the terminal" },
];

/// Parts that use each other in a circle today. This list only gets shorter.
const CIRCLES: &[&[&str]] = &[
    // Exit codes lie in `run`.
    &["doctor", "run"],
    // The sample report has the findings made of it; a histogram summarises itself into the model.
    &["findings", "hist", "report"],
];

/// Part → what it uses, each with the first place.
type Uses = BTreeMap<String, BTreeMap<String, String>>;

pub fn check() -> Result<Vec<String>> {
    let (parts, crates) = uses()?;
    let mut complaints = allowed(&parts);
    complaints.extend(guarded(&crates));
    complaints.extend(circles(&parts, CIRCLES));
    Ok(complaints)
}

fn allowed(parts: &Uses) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, uses) in parts {
        let Some(part) = PARTS.iter().find(|part| part.name == name) else {
            let uses: Vec<&str> = uses.keys().map(String::as_str).collect();
            complaints.push(format!("`{name}` has no row in xtask/src/house/arrows.rs; it uses {}", uses.join(", ")));
            continue;
        };
        for (used, place) in uses.iter().filter(|(used, _)| !part.uses.contains(&used.as_str())) {
            complaints.push(format!("{place}: `{name}` uses `{used}`, but {}", part.why));
        }
        for used in part.uses.iter().filter(|used| !uses.contains_key(**used)) {
            eprintln!("note: `{name}` no longer uses `{used}`: take that out of xtask/src/house/arrows.rs");
        }
    }
    for part in PARTS.iter().filter(|part| !parts.contains_key(part.name)) {
        eprintln!("note: there is no part `{}`: take its row out of xtask/src/house/arrows.rs", part.name);
    }
    complaints
}

fn guarded(crates: &Uses) -> Vec<String> {
    let mut complaints = Vec::new();
    for (part, uses) in crates {
        for guarded in GUARDED.iter().filter(|guarded| !guarded.parts.contains(&part.as_str())) {
            if let Some(place) = uses.get(guarded.name) {
                complaints.push(format!("{place}: `{part}` uses the crate `{}`, but {}", guarded.name, guarded.why));
            }
        }
    }
    complaints
}

/// Circles of parts but those that are known.
fn circles(parts: &Uses, known: &[&[&str]]) -> Vec<String> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        parts.keys().map(|name| (name.as_str(), reachable(parts, name))).collect();
    let mut complaints = BTreeSet::new();
    for (name, seen) in &reach {
        let circle: Vec<&str> =
            seen.iter().copied().filter(|other| reach.get(other).is_some_and(|back| back.contains(name))).collect();
        if circle.is_empty() || known.iter().any(|known| circle.iter().all(|part| known.contains(part))) {
            continue;
        }
        let mut arrows = Vec::new();
        for part in &circle {
            let uses = parts[*part].iter().filter(|(used, _)| circle.contains(&used.as_str()));
            arrows.extend(uses.map(|(used, place)| format!("{part} → {used} ({place})")));
        }
        complaints.insert(format!("parts use each other in a circle: {}", arrows.join(", ")));
    }
    complaints.into_iter().collect()
}

fn reachable<'a>(parts: &'a Uses, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = parts[from].keys().map(String::as_str).collect();
    while let Some(part) = open.pop() {
        if seen.insert(part) {
            open.extend(parts.get(part).into_iter().flat_map(|uses| uses.keys().map(String::as_str)));
        }
    }
    seen
}

/// What each part uses of the others, and which crates it names.
fn uses() -> Result<(Uses, Uses)> {
    let mut files = Vec::new();
    let mut only_tests: BTreeSet<Vec<String>> = BTreeSet::new();
    for path in source::files(Path::new(ROOT))? {
        let module = module_of(&path);
        let (tokens, tests) = source::without_tests(&source::tokens(&std::fs::read_to_string(&path)?));
        only_tests.extend(tests.into_iter().map(|name| [module.clone(), vec![name]].concat()));
        files.push((path, module, tokens));
    }
    let (mut parts, mut crates) = (Uses::new(), Uses::new());
    for (path, module, tokens) in files {
        let Some(part) = module.first() else { continue };
        if only_tests.iter().any(|tests| module.starts_with(tests)) {
            continue;
        }
        let add = |to: &mut Uses, used: &str, line: usize| {
            let place = format!("{}:{line}", path.display());
            to.entry(part.clone()).or_default().entry(used.to_owned()).or_insert(place);
        };
        parts.entry(part.clone()).or_default();
        for (used, line) in parts_used(&tokens, module.len()) {
            if used != *part {
                add(&mut parts, &used, line);
            }
        }
        for (used, line) in crates_used(&tokens) {
            add(&mut crates, &used, line);
        }
    }
    Ok((parts, crates))
}

/// The path of a file's module below the crate; empty for `lib.rs` and `main.rs`.
fn module_of(path: &Path) -> Vec<String> {
    let below = path.strip_prefix(ROOT).unwrap_or(path).with_extension("");
    let names = below.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str().map(String::from),
        _ => None,
    });
    let mut names: Vec<String> = names.collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// The top-level modules that are named, by `crate::…` or by so many `super::` that they lead there, in groups too.
fn parts_used(tokens: &[Token], depth: usize) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    // Braces that are open: whether each is that of a module.
    let mut open: Vec<bool> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let text = |back: usize| at.checked_sub(back).map(|at| tokens[at].text.as_str());
        match token.text.as_str() {
            "{" => open.push(text(2) == Some("mod")),
            "}" => {
                open.pop();
            }
            "crate" if text(1) != Some("::") => found.extend(heads(&tokens[at + 1..])),
            "super" if text(1) != Some("::") => {
                let supers = 1 + tokens[at + 1..].chunks(2).take_while(|pair| is(pair, "::", "super")).count();
                let inside = depth + open.iter().filter(|module| **module).count();
                if supers == inside {
                    found.extend(heads(&tokens[at + 2 * supers - 1..]));
                }
            }
            _ => {}
        }
    }
    found
}

fn is(pair: &[Token], first: &str, second: &str) -> bool {
    matches!(pair, [a, b] if a.text == first && b.text == second)
}

/// The first names behind a path's root: one, or those of a group.
fn heads(rest: &[Token]) -> Vec<(String, usize)> {
    match rest {
        [colons, group, ..] if colons.text == "::" && group.text == "{" => {
            let (mut found, mut depth, mut first) = (Vec::new(), 0, false);
            for token in &rest[1..] {
                match token.text.as_str() {
                    "{" => (depth, first) = (depth + 1, depth == 0),
                    "}" => depth -= 1,
                    "," => first = depth == 1,
                    _ if first => {
                        found.push((token.text.clone(), token.line));
                        first = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            found
        }
        [colons, name, ..] if colons.text == "::" => vec![(name.text.clone(), name.line)],
        _ => Vec::new(),
    }
}

/// The names that stand first in a path, which is where a crate's name stands.
fn crates_used(tokens: &[Token]) -> Vec<(String, usize)> {
    let first = |at: usize| at == 0 || tokens[at - 1].text != "::";
    let starts = tokens.windows(2).enumerate().filter(|(at, pair)| pair[1].text == "::" && first(*at));
    starts.map(|(_, pair)| (pair[0].text.clone(), pair[0].line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(source: &str, depth: usize) -> Vec<String> {
        parts_used(&source::tokens(source), depth).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn paths_lead_to_parts() {
        let source =
            "use crate::{a::{b, c::d}, e, f::g}; use crate::h::i; // crate::no\n fn x() { crate::j::k(\"crate::l\") }";
        assert_eq!(used(source, 2), ["a", "e", "f", "h", "j"]);
        assert_eq!(used("use super::super::m::{n}; use super::o; pub(in crate::p) struct S;", 2), ["m", "p"]);
        assert_eq!(used("mod q { use super::super::r; use super::s; }", 1), ["r"]);
        assert_eq!(used("use super::{t, u::v};", 1), ["t", "u"]);
    }

    #[test]
    fn crates_stand_first() {
        let names = crates_used(&source::tokens("use aya::{maps::Map}; let x: std::io::Result<aya_obj::O>;"));
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["aya", "maps", "std", "aya_obj"], "what begins inside of a group is not told apart");
    }

    #[test]
    fn a_circle_is_found_unless_it_is_known() {
        let mut parts = Uses::new();
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")] {
            parts.entry(from.into()).or_default().insert(to.into(), "x:1".into());
        }
        assert_eq!(circles(&parts, &[]).len(), 1);
        assert!(circles(&parts, &[&["a", "b", "c"]]).is_empty());
        assert_eq!(circles(&parts, &[&["a", "b"]]).len(), 1);
    }

    #[test]
    fn a_file_is_a_module() {
        assert_eq!(module_of(Path::new("profiler/src/a/mod.rs")), ["a"]);
        assert_eq!(module_of(Path::new("profiler/src/a/b.rs")), ["a", "b"]);
        assert!(module_of(Path::new("profiler/src/lib.rs")).is_empty());
    }
}
