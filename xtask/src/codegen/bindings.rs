//! Struct layouts out of Rust bindings that bindgen made from server headers: for a major version whose headers no
//! package has. The items needed are cut out of the file and given to rustc.

use std::{collections::BTreeSet, fmt::Write as _, fs, process::Command};

use anyhow::{Context, Result};

use super::offsets::{Item, Values, Way, read_values};
use xtask::packages::run;

/// Types that the crate defines outside the generated file, all newtypes of `uint32` (postgres_ext.h, c.h).
const PRELUDE: &str = "#![allow(warnings)]\ntype Oid = u32;\ntype TransactionId = u32;\ntype MultiXactId = u32;\n";

/// Answers to the items whose types the bindings describe.
pub fn values(bindings: &str, items: &[Item]) -> Result<Values> {
    let lines: Vec<&str> = bindings.lines().collect();
    let opaque = |of: &str| find(&lines, of).is_none_or(|item| item.contains("_unused: [u8; 0]"));
    let mut main = String::from("fn main() {\n");
    let mut wanted = BTreeSet::new();
    for item in items {
        for way in &item.ways {
            let (of, expression) = match way {
                Way::Offset { of, path } => (*of, format!("std::mem::offset_of!({of}, {path})")),
                Way::Size { of } => (*of, format!("size_of::<{of}>()")),
                Way::Value { of, name } => (*of, format!("{of}::{name}")),
            };
            let declared = match way {
                Way::Offset { path, .. } => format!(" {}:", path.split('.').next().unwrap_or(path)),
                Way::Size { of } => format!(" {of} "),
                Way::Value { name, .. } => format!(" {name}:"),
            };
            // A member that the version lacks has no answer.
            if !opaque(of) && find(&lines, of).is_some_and(|item| item.contains(&declared)) {
                wanted.insert(of.to_string());
                writeln!(main, "    println!(\"{} {{}}\", {expression});", item.name)?;
            }
        }
    }
    main.push_str("}\n");

    let mut source = String::from(PRELUDE);
    let mut done = BTreeSet::new();
    while let Some(name) = wanted.pop_first() {
        let Some(item) = find(&lines, &name).filter(|_| done.insert(name)) else { continue };
        if item.starts_with("pub struct") || item.starts_with("pub union") {
            source.push_str("#[repr(C)]\n#[derive(Clone, Copy)]\n");
        }
        source.push_str(&item);
        let words = item.split(|c: char| !c.is_alphanumeric() && c != '_');
        wanted.extend(words.filter(|word| !PRELUDE.contains(&format!("type {word} "))).map(str::to_string));
    }
    let scratch = tempfile::tempdir()?;
    let (file, program) = (scratch.path().join("offsets.rs"), scratch.path().join("offsets"));
    fs::write(&file, source + &main)?;
    run(Command::new("rustc").args(["--edition=2021", "-o"]).arg(&program).arg(&file))
        .context("compiling the bindings")?;
    read_values(&run(&mut Command::new(&program))?)
}

/// The definition of a struct, union, type or module of constants, with pointers made opaque.
fn find(lines: &[&str], name: &str) -> Option<String> {
    let heads = ["struct", "union", "type", "mod"].map(|kind| format!("pub {kind} {name} "));
    let start = lines.iter().position(|line| heads.iter().any(|head| line.starts_with(head.as_str())))?;
    let one_line = lines[start].ends_with(';');
    let end = if one_line { start } else { start + lines[start..].iter().position(|line| *line == "}")? };
    let mut item = String::new();
    for line in &lines[start..=end] {
        match line.split_once("*mut ").or_else(|| line.split_once("*const ")) {
            Some((before, _)) => {
                let end = if line.ends_with(';') { ';' } else { ',' };
                item.push_str(&format!("{before}*mut u8{end}\n"));
            }
            None => item.push_str(&format!("{line}\n")),
        }
    }
    Some(item)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn finds_items_and_hides_pointers() {
        let lines = ["pub struct A {", "    pub b: *mut *mut A,", "    pub c: B,", "}", "pub type B = *mut A;"];
        assert_eq!(find(&lines, "A").unwrap(), "pub struct A {\n    pub b: *mut u8,\n    pub c: B,\n}\n");
        assert_eq!(find(&lines, "B").unwrap(), "pub type B = *mut u8;\n");
        assert_eq!(find(&lines, "C"), None);
    }
}
