//! What a transaction costs the whole machine, in instructions: in a virtual machine whose time is its instructions.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xtask::children::watch_interrupts;

use super::{
    KERNELS, archive, build_tests, image, impossible,
    machine::{self, Time},
};
use crate::{
    demo::{build_release, target_dir},
    toolchain::{self, For},
};

/// Far beyond what a run takes.
const LIMIT: Duration = Duration::from_secs(3600);
/// The kind of the notes that `tests/tests/count.rs` leaves.
const NOTE: &str = "instructions";

/// Instructions of the whole guest a transaction, by workload and by what was attached.
pub type Counted = BTreeMap<String, BTreeMap<String, u64>>;

/// Counts on the kernel of that name.
pub fn count(name: &str) -> Result<Counted> {
    toolchain::setup(For::Test)?;
    if let Some(reason) = impossible() {
        bail!("{reason}");
    }
    watch_interrupts();
    let kernel = KERNELS.iter().find(|kernel| kernel.name == name).with_context(|| format!("no kernel {name}"))?;
    let files = kernel.files()?;
    let (pgstrobe, tests) = (build_release()?, build_tests("count")?);
    let dir = target_dir().join("vm/count");
    fs::create_dir_all(&dir)?;
    let shared = dir.join("shared.cpio");
    image::write_shared(&shared, &pgstrobe, &tests)?;
    let initrd = archive(kernel, &files, &dir, &shared, Some("--ignored"))?;
    let log = dir.join(format!("{name}.log"));
    eprintln!("count {name}: the serial line goes to {}", log.display());
    let ended = machine::run(&files.image, &initrd, &log, (Time::Instructions, LIMIT), &mut |line, at| {
        if line.starts_with("test ") || line.starts_with("@@booted") {
            eprintln!("count {name} [{:5.1} s]: {line}", at.as_secs_f32());
        }
    })?;
    let _ = (fs::remove_file(&shared), fs::remove_file(&initrd));
    let counted = read(&ended.lines);
    ensure!(!counted.is_empty(), "nothing was counted: see {}", log.display());
    Ok(counted)
}

/// `@@note {"kind":"instructions","value":[WORKLOAD,ATTACHED,INSTRUCTIONS]}`
fn read(lines: &[String]) -> Counted {
    let notes = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("@@note ")?).ok());
    let mut counted = Counted::new();
    for note in notes.filter(|note| note["kind"] == NOTE) {
        let value = &note["value"];
        if let (Some(workload), Some(attached), Some(n)) = (value[0].as_str(), value[1].as_str(), value[2].as_u64()) {
            counted.entry(workload.to_owned()).or_default().insert(attached.to_owned(), n);
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_notes() {
        let line = |text: &str| text.to_owned();
        let counted = read(&[
            line("@@note {\"kind\":\"instructions\",\"test\":\"x\",\"value\":[\"select-only\",\"off\",130034]}"),
            line("@@note {\"kind\":\"lost\",\"value\":[0,0]}"),
            line("test x ... ok"),
        ]);
        assert_eq!(counted["select-only"]["off"], 130_034);
        assert_eq!(counted.len(), 1);
    }
}
