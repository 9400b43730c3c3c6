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
        return match has_core_source(Command::new("rustc")) {
            true => Ok(Toolchain::InPath),
            false => Err("no rustup, and the compiler in PATH lacks the source of `core`".into()),
        };
    }
    if let Some(name) = std::env::var(TOOLCHAIN_ENV).ok().filter(|name| !name.is_empty()) {
        return match rustup_has(&name) {
            true => Ok(Toolchain::Rustup(name)),
            false => Err(format!("{TOOLCHAIN_ENV}={name} is no toolchain with the source of `core`")),
        };
    }
    for name in [LINKED, NIGHTLY] {
        if rustup_has(name) {
            return Ok(Toolchain::Rustup(name.into()));
        }
    }
    Err(format!("neither the toolchain `{LINKED}` nor `{NIGHTLY}` with rust-src is there"))
}

/// Whether bpf-linker is there, in any version: a newer one may be there on purpose.
pub fn linker() -> Result<(), String> {
    match runs("bpf-linker", &["--version"]) {
        true => Ok(()),
        false => Err("bpf-linker is not there".into()),
    }
}

fn rustup_has(name: &str) -> bool {
    // Looked up before it is run: rustup would try to install a toolchain it does not have.
    let listed = output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let mut names = listed.lines().filter_map(|line| line.split_whitespace().next());
    if !names.any(|listed| listed == name || listed.starts_with(&format!("{name}-"))) {
        return false;
    }
    let mut rustc = Command::new("rustup");
    rustc.args(["run", name, "rustc"]);
    has_core_source(rustc)
}

fn has_core_source(mut rustc: Command) -> bool {
    let Some(sysroot) = output(rustc.args(["--print", "sysroot"])) else { return false };
    core_source(Path::new(sysroot.trim())).is_file()
}

/// Where `-Z build-std=core` looks for it.
pub fn core_source(sysroot: &Path) -> PathBuf {
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
