//! Builds the eBPF programs, so that what is shipped is one file: the object lands in `OUT_DIR/pgstrobe` and the
//! crate embeds it.

use std::path::Path;

#[path = "../xtask/src/ebpf.rs"]
#[allow(dead_code, reason = "set-up uses all of it")]
mod ebpf;

fn main() {
    println!("cargo:rerun-if-env-changed={}", ebpf::TOOLCHAIN_ENV);
    println!("cargo:rerun-if-env-changed=PATH");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../xtask/src/ebpf.rs");
    println!("cargo:rerun-if-changed=../profiler-common");
    if let Err(message) = build() {
        // One sentence in cargo's own form, without a trace of this script.
        for line in message.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn build() -> Result<(), String> {
    let missing = |what| format!("the eBPF toolchain is missing ({what}): run `cargo xtask setup`");
    let toolchain = ebpf::toolchain().map_err(missing)?;
    ebpf::linker().map_err(missing)?;

    // Asked at run time: a script compiled in one checkout may run in a copy of its target directory.
    let package = std::env::var("CARGO_MANIFEST_DIR").map_err(|error| format!("CARGO_MANIFEST_DIR: {error}"))?;
    let root = Path::new(&package).join("../profiler-ebpf");
    let root = root.canonicalize().map_err(|error| format!("profiler-ebpf: {error}"))?;
    // aya-build runs cargo in the current directory, and `profiler-ebpf` is outside this workspace.
    std::env::set_current_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    // `-Z build-std` with a compiler that is no nightly.
    // SAFETY: nothing else runs in this process yet.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };

    share_target().map_err(|error| format!("the target directory of the eBPF programs: {error}"))?;
    let package = aya_build::Package {
        name: "pgstrobe-ebpf",
        root_dir: root.to_str().ok_or("the path of profiler-ebpf is not UTF-8")?,
        ..Default::default()
    };
    aya_build::build_ebpf([package], aya_build::Toolchain::Custom(toolchain.name()))
        .map_err(|error| format!("the eBPF programs do not build: {error:#}"))
}

/// aya-build compiles below `OUT_DIR`, of which there is one for each profile and set of features. The programs are the
/// same in all of them, so they are compiled in one directory, `target/ebpf`, which cargo locks by itself.
fn share_target() -> std::io::Result<()> {
    let out = std::env::var_os("OUT_DIR").ok_or(std::io::ErrorKind::NotFound)?;
    // target/<profile>/build/<package>/out
    let shared = Path::new(&out).ancestors().nth(4).ok_or(std::io::ErrorKind::NotFound)?.join("ebpf");
    std::fs::create_dir_all(&shared)?;
    let parent = Path::new(&out).join("aya-build/target");
    std::fs::create_dir_all(&parent)?;
    let link = parent.join("pgstrobe-ebpf");
    match std::fs::symlink_metadata(&link) {
        Ok(old) if old.is_dir() => std::fs::remove_dir_all(&link)?,
        Ok(_) => std::fs::remove_file(&link)?,
        Err(_) => {}
    }
    std::os::unix::fs::symlink(shared, link)
}
