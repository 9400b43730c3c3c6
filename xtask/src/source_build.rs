//! A PostgreSQL made here, from its source. Every compiler that optimises copies the server's functions of messages into
//! their only caller, so of the builds that others leave none ever enters them; this one is not optimised.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::packages::{Package, Pin, fetch, only_file, run, target_dir};

/// What a cluster needs of it: the server with its time zones, conversions and dictionaries, `initdb`, and the language that
/// each new database has.
const PARTS: [&str; 7] = [
    "timezone",
    "backend",
    "backend/utils/mb/conversion_procs",
    "backend/snowball",
    "pl/plpgsql",
    "interfaces/libpq",
    "bin/initdb",
];

/// The server of a source package, made where it is not here yet: `bin/postgres` is in the directory.
pub fn server(pin: &Pin) -> Result<Package> {
    let source = fetch(pin)?;
    let packages = target_dir().join("packages");
    let dir = packages.join(format!("made-{}_{}", pin.name, source.version));
    if !dir.is_dir() {
        // Installed beside its place and renamed at the end, so that a directory in its place is a whole one. The server
        // finds its files from where it is.
        let scratch = tempfile::Builder::new().prefix(".").tempdir_in(&packages)?;
        let made = scratch.path().join("made");
        make(&only_file(&source.dir)?, scratch.path(), &made).with_context(|| format!("making {}", dir.display()))?;
        fs::rename(&made, &dir)?;
    }
    Ok(Package { dir, version: source.version })
}

/// `source` stays as it was.
fn make(source: &Path, scratch: &Path, to: &Path) -> Result<()> {
    let tree = scratch.join("tree");
    fs::create_dir(&tree)?;
    let options = ["--quiet", "--without-readline", "--without-zlib", "--without-icu", "CFLAGS=-O0"];
    let mut configure = Command::new(source.join("configure"));
    run(configure.args(options).arg(format!("--prefix={}", to.display())).current_dir(&tree))?;
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let make =
        |args: &[&str]| run(Command::new("make").args(["-s", &format!("-j{cpus}")]).args(args).current_dir(&tree));
    make(&["-C", "src/backend", "generated-headers"])?;
    for part in PARTS {
        make(&["-C", &format!("src/{part}"), "install"])?;
    }
    Ok(())
}
