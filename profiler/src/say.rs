//! Sentences for the person at the terminal, on the standard error.

use std::io::Write as _;

use crate::words::clean;

/// Says it, line by line, with nothing in it that a terminal would act on: file names and names of servers are in such
/// sentences. Where nobody listens any more, that is no reason to fail (`eprintln!` would panic).
pub fn say(text: &str) {
    let lines: Vec<String> = text.lines().map(clean).collect();
    let _ = writeln!(std::io::stderr(), "pgstrobe: {}", lines.join("\n"));
}
