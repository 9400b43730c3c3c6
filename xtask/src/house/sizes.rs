//! No file and no function that cannot be read at one sitting.

use std::path::Path;

use anyhow::Result;

use super::source::{self, Token};

/// Lines of a file, comments and tests included.
const FILE: usize = 400;
/// Lines of a function, from `fn` to its last brace.
const FUNCTION: usize = 80;

const ROOTS: [&str; 5] = ["profiler", "profiler-common", "profiler-ebpf", "xtask", "tests"];

/// Written by `cargo xtask codegen`.
const GENERATED: &[&str] = &["profiler/src/postgres/layout/tables.rs", "profiler/src/postgres/wait_event/names.rs"];

/// Longer than they should be. This list only gets shorter.
const LONG_FILES: &[&str] =
    &["profiler/src/report/model.rs", "profiler-ebpf/src/ledger.rs", "profiler-ebpf/src/statement.rs"];

/// Longer than they should be, as `file:function`. This list only gets shorter; a table of data is said to be one.
const LONG_FUNCTIONS: &[&str] = &[
    "profiler/src/doctor.rs:examine",
    "profiler-ebpf/src/files.rs:count",
    // A table: the orders of an enum of Postgres, by version.
    "profiler/src/postgres/backend/mod.rs:backend_types",
    // A table: the sample report.
    "profiler/src/report/fixture.rs:busy",
];

pub fn check() -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let (mut long_files, mut long_functions) = (Vec::new(), Vec::new());
    for path in ROOTS.iter().map(|root| source::files(Path::new(root))).collect::<Result<Vec<_>>>()?.concat() {
        let name = path.display().to_string();
        if GENERATED.contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let lines = text.lines().count();
        if lines > FILE {
            long_files.push((name.clone(), lines));
        }
        let functions = functions(&source::tokens(&text)).into_iter();
        long_functions.extend(
            functions
                .filter(|(_, lines)| *lines > FUNCTION)
                .map(|(function, lines)| (format!("{name}:{function}"), lines)),
        );
    }
    compare(&mut complaints, &long_files, LONG_FILES, FILE);
    compare(&mut complaints, &long_functions, LONG_FUNCTIONS, FUNCTION);
    Ok(complaints)
}

fn compare(complaints: &mut Vec<String>, found: &[(String, usize)], known: &[&str], most: usize) {
    let new = found.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    complaints
        .extend(new.map(|(name, lines)| format!("{name} has {lines} lines, more than {most}: split it by concept")));
    let gone = known.iter().filter(|name| !found.iter().any(|(found, _)| found == **name));
    for name in gone {
        eprintln!("note: {name} is short enough now, or gone: take it out of xtask/src/house/sizes.rs");
    }
}

/// Every function with a body, and the lines it takes.
fn functions(tokens: &[Token]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "fn") {
        let Some(name) = tokens.get(at + 1).filter(|name| name.text != "(") else { continue };
        if let Some(end) = end_of_body(&tokens[at + 2..]) {
            found.push((name.text.clone(), end - token.line + 1));
        }
    }
    found
}

/// The line of the brace that closes the first block; `None` for a function without a body.
fn end_of_body(tokens: &[Token]) -> Option<usize> {
    let (mut inside, mut depth) = (0_i32, 0_i32);
    for token in tokens {
        match token.text.as_str() {
            "(" | "[" if depth == 0 => inside += 1,
            ")" | "]" if depth == 0 => inside -= 1,
            ";" if depth == 0 && inside == 0 => return None,
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_functions() {
        let source = "fn one() { \"}\"; }\ntrait T { fn none(a: [u8; 4]); }\nfn three(x: fn(u8) -> u8)\n{\n}\n";
        assert_eq!(functions(&source::tokens(source)), [("one".to_owned(), 1), ("three".to_owned(), 3)]);
    }

    #[test]
    fn what_is_new_is_said_and_what_is_known_is_not() {
        let mut complaints = Vec::new();
        compare(&mut complaints, &[("a".into(), 500), ("b".into(), 401)], &["a"], 400);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("b has 401 lines"));
    }
}
