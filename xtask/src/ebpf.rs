//! Which compiler can build the eBPF programs, and the pins of everything that building them takes.
//!
//! Plain `std`, because `profiler/build.rs` includes this very file: what `cargo xtask setup` prepares and what
//! `cargo build` then uses cannot drift apart.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Overrides the choice below with the name of any rustup toolchain.
pub const TOOLCHAIN_ENV: &str = "PGSTROBE_EBPF_TOOLCHAIN";
/// The nightly for machines where rustup can install. Its LLVM must not be newer than [`LLVM_MAJOR`].
pub const NIGHTLY: &str = "nightly-2026-05-20";
/// The name under which a compiler from outside rustup (a distribution's) is linked into it.
pub const LINKED: &str = "pgstrobe-ebpf";
/// bpf-linker reads the compiler's bitcode, so it is built on an LLVM at least as new as the compiler's.
pub const LINKER_VERSION: &str = "0.13.0";
pub const LLVM_MAJOR: u32 = 22;
/// The oldest compiler, as in `rust-version` of the workspace. A distribution keeps older ones under the same name.
pub const OLDEST_COMPILER: (u32, u32) = (1, 95);

/// A compiler able to build `core` for the eBPF target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// A toolchain known to rustup.
    Rustup(String),
    /// There is no rustup; the compiler in `PATH` has the source of `core`.
    InPath,
}

impl Toolchain {
    /// What aya-build is given; without rustup it ignores the name.
    pub fn name(&self) -> &str {
        match self {
            Self::Rustup(name) => name,
            Self::InPath => "",
        }
    }
}

/// The toolchain to build with, or what is missing, in words.
pub fn toolchain() -> Result<Toolchain, String> {
    if !runs("rustup", &["--version"]) {
        return match fits(&["rustc"]) {
            Ok(()) => Ok(Toolchain::InPath),
            Err(reason) => Err(format!("no rustup, and the compiler in PATH {reason}")),
        };
    }
    if let Some(name) = std::env::var(TOOLCHAIN_ENV).ok().filter(|name| !name.is_empty()) {
        return match rustup_has(&name) {
            Ok(()) => Ok(Toolchain::Rustup(name)),
            Err(reason) => Err(format!("{TOOLCHAIN_ENV}={name} {reason}")),
        };
    }
    let mut reasons = Vec::new();
    for name in [LINKED, NIGHTLY] {
        match rustup_has(name) {
            Ok(()) => return Ok(Toolchain::Rustup(name.into())),
            Err(reason) => reasons.push(format!("the toolchain `{name}` {reason}")),
        }
    }
    Err(reasons.join(", "))
}

/// Whether bpf-linker is there, in any version: a newer one may be there on purpose.
pub fn linker() -> Result<(), String> {
    match runs("bpf-linker", &["--version"]) {
        true => Ok(()),
        false => Err("bpf-linker is not there".into()),
    }
}

fn rustup_has(name: &str) -> Result<(), String> {
    // Looked up before it is run: rustup would try to install a toolchain it does not have.
    let listed = output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let mut names = listed.lines().filter_map(|line| line.split_whitespace().next());
    match names.any(|listed| listed == name || listed.starts_with(&format!("{name}-"))) {
        true => fits(&["rustup", "run", name, "rustc"]),
        false => Err("is not there".into()),
    }
}

/// Whether a compiler, given as a command, can build the programs: new enough, with the source of `core`.
pub fn fits(rustc: &[&str]) -> Result<(), String> {
    let ask = |question: &[&str]| output(Command::new(rustc[0]).args(&rustc[1..]).args(question));
    let version = ask(&["--version"]).ok_or("does not run")?;
    if version_of(&version).is_none_or(|version| version < OLDEST_COMPILER) {
        let (major, minor) = OLDEST_COMPILER;
        return Err(format!("is {}, older than {major}.{minor}", version.trim()));
    }
    let sysroot = ask(&["--print", "sysroot"]).ok_or("does not tell its sysroot")?;
    match core_source(Path::new(sysroot.trim())).is_file() {
        true => Ok(()),
        false => Err("lacks the source of `core`".into()),
    }
}

/// Major and minor of `rustc 1.96.0 (…)`.
fn version_of(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Where `-Z build-std=core` looks for it.
fn core_source(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs")
}

fn runs(program: &str, args: &[&str]) -> bool {
    output(Command::new(program).args(args)).is_some()
}

/// Standard output of a command that succeeds.
fn output(command: &mut Command) -> Option<String> {
    // cargo hands its build scripts a RUSTUP_TOOLCHAIN and a RUSTC of its own.
    command.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
