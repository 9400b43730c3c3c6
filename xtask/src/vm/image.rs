//! What a virtual machine finds at its start: pgstrobe, the tests, a Postgres, and the little of a system they need.
//!
//! One archive serves every kernel; what differs comes in a second one behind it.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use xtask::cluster;

use super::cpio::Archive;
use xtask::packages::run;

/// The user of the server inside.
const POSTGRES: u32 = 70;

const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\npostgres:x:70:70:postgres:/tmp:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/tmp:/bin/sh\n";
const GROUP: &str = "root:x:0:\npostgres:x:70:\nnogroup:x:65534:\n";

/// Time zones the server may ask for by the name in its configuration.
const ZONES: [&str; 4] = ["UTC", "GMT", "Etc/UTC", "Universal"];

/// Writes the archive that all kernels share.
pub fn write_shared(to: &Path, pgstrobe: &Path, tests: &Path) -> Result<()> {
    let server = cluster::find_bin_dir()?;
    let template = cluster::data_template(&server)?;
    let mut archive = Archive::new(BufWriter::new(File::create(to)?));
    archive.file("init", 0o755, 0, include_bytes!("init.sh"))?;
    // The kernel opens it for the first process before anything is mounted: include/uapi/linux/major.h.
    archive.character_device("dev/console", 5, 1)?;
    archive.file("etc/passwd", 0o644, 0, PASSWD.as_bytes())?;
    archive.file("etc/group", 0o644, 0, GROUP.as_bytes())?;
    for dir in ["proc", "sys", "tmp", "var/tmp", "run", "sbin", "usr/bin", "usr/sbin"] {
        archive.directory(dir, 0o755, 0)?;
    }
    let busybox = in_path("busybox").context("busybox is not installed: run `cargo xtask setup`")?;
    program(&mut archive, &busybox, "bin/busybox")?;
    archive.symlink("bin/sh", "busybox")?;
    program(&mut archive, pgstrobe, "bin/pgstrobe")?;
    program(&mut archive, tests, "tests")?;
    for name in ["postgres", "initdb", "psql", "pgbench"] {
        let own = server.join(name);
        let path = if own.is_file() { own } else { in_path(name).with_context(|| format!("there is no {name}"))? };
        program(&mut archive, &path, &server.join(name).display().to_string())?;
    }
    // The server wants to see the directory of its modules; no test loads one.
    for dir in ["../lib", "../lib/postgresql"].map(|dir| server.join(dir)) {
        if let Ok(dir) = fs::canonicalize(dir) {
            archive.directory(&dir.display().to_string(), 0o755, 0)?;
        }
    }
    let share = share_dir(&server)?;
    for part in ["timezonesets", "timezone"] {
        if share.join(part).is_dir() {
            archive.tree(&share.join(part), &share.join(part).display().to_string(), 0)?;
        }
    }
    for zone in ZONES.map(|zone| Path::new("/usr/share/zoneinfo").join(zone)) {
        if zone.is_file() {
            archive.copy(&zone, &zone.display().to_string(), 0)?;
        }
    }
    let name = cluster::template_name(None, &server);
    archive.tree(&template.data, &format!("templates/{name}"), POSTGRES)?;
    archive.finish()?;
    Ok(())
}

/// The archive of one kernel: its modules, and what the tests are told.
pub fn own(disk_module: &[u8], loop_module: Option<&[u8]>, filter: Option<&str>) -> Result<Vec<u8>> {
    let mut archive = Archive::new(Vec::new());
    archive.file("modules/brd.ko", 0o644, 0, disk_module)?;
    if let Some(module) = loop_module {
        archive.file("modules/loop.ko", 0o644, 0, module)?;
    }
    let environment = format!(
        "export PGSTROBE_BIN=/bin/pgstrobe {}=/templates\nTEST_FILTER='{}'\n",
        cluster::TEMPLATES,
        filter.unwrap_or_default().replace('\'', "")
    );
    archive.file("environment", 0o644, 0, environment.as_bytes())?;
    Ok(archive.finish()?)
}

/// A program with the loader and the libraries that it names.
fn program<W: Write>(archive: &mut Archive<W>, from: &Path, path: &str) -> Result<()> {
    archive.copy(from, path, 0)?;
    let output = Command::new("ldd").arg(from).output().context("running `ldd`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // `libm.so.6 => /lib/…/libm.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`; a static program has no such line.
    for line in text.lines() {
        ensure!(!line.contains("not found"), "{}: {}", from.display(), line.trim());
        let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
        archive.copy(Path::new(library), library, 0)?;
    }
    Ok(())
}

/// Where the server looks for what does not depend on the processor.
fn share_dir(bin: &Path) -> Result<PathBuf> {
    let configured = run(Command::new(bin.join("pg_config")).arg("--sharedir")).ok();
    let configured = configured.map(|path| PathBuf::from(path.trim()));
    let version = bin.parent().and_then(Path::file_name).unwrap_or_default();
    let usual =
        [Path::new("/usr/share/postgresql").join(version), bin.join("../share/postgresql"), bin.join("../share")];
    let found = configured.into_iter().chain(usual).find(|dir| dir.join("timezonesets").is_dir());
    match found {
        Some(dir) => Ok(fs::canonicalize(dir)?),
        None => bail!("the files of the server in {} are not found", bin.display()),
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(program)).find(|path| path.is_file())
}
