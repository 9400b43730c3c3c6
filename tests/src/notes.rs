//! What a test saw, for the one who ran it elsewhere: `cargo xtask vm` makes its table of kernels out of it.

use std::io::Write;

use serde_json::json;

use crate::Report;

/// A line of JSON in the file of `PGSTROBE_NOTES`, when there is one.
pub fn note(kind: &str, value: impl serde::Serialize) {
    let Some(path) = std::env::var_os("PGSTROBE_NOTES") else { return };
    let line = json!({ "test": test_name(), "kind": kind, "value": value });
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| writeln!(file, "{line}")).expect("the file of PGSTROBE_NOTES");
}

/// By which hooks each probe saw what it saw.
pub fn note_hooks(report: &Report) {
    let probes = report.coverage.probes.iter();
    let hooks: serde_json::Map<_, _> =
        probes.map(|probe| (probe.name.clone(), json!({ "hooks": probe.hooks, "reason": probe.reason }))).collect();
    note("hooks", hooks);
}

/// libtest names the thread of a test after it.
pub fn test_name() -> String {
    std::thread::current().name().unwrap_or("?").to_owned()
}
