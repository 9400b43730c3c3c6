//! Which kernels the short tests run on, and what a virtual machine needs of each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use xtask::packages::{self, Pin, Source, pins};

/// A kernel of Debian, of the flavour for virtual machines: it has most drivers built in.
pub struct Kernel {
    pub name: &'static str,
    /// The image and, where they come apart, the modules.
    pins: &'static [Pin],
}

pub static KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", pins: &[pins::KERNEL_BULLSEYE] },
    Kernel { name: "6.1", pins: &[pins::KERNEL_BOOKWORM] },
    Kernel { name: "6.12", pins: &[pins::KERNEL_TRIXIE] },
    Kernel { name: "sid", pins: &[pins::KERNEL_SID, pins::KERNEL_SID_MODULES] },
];

/// The package that depends on the suite's current kernel.
const CURRENT: &str = "linux-image-cloud-amd64";

pub struct Files {
    pub image: PathBuf,
    /// The driver of disks in memory, decompressed.
    pub disk_module: Vec<u8>,
    /// That of loop devices, where it is a module.
    pub loop_module: Option<Vec<u8>>,
}

impl Kernel {
    /// Downloads what is not there yet.
    pub fn files(&self) -> Result<Files> {
        let fetched = self.pins.iter().map(packages::fetch).collect::<Result<Vec<_>>>();
        let packages = fetched.or_else(|error| self.current().with_context(|| format!("{error:#}")))?;
        let dirs: Vec<&Path> = packages.iter().map(|package| package.dir.as_path()).collect();
        let find = |name: &str| dirs.iter().find_map(|dir| find(dir, name, 8));
        let image = find("vmlinuz").with_context(|| format!("no kernel in {dirs:?}"))?;
        let module = find("brd.ko").with_context(|| format!("no brd.ko in {dirs:?}"))?;
        let disk_module = decompressed(&module)?;
        let loop_module = find("loop.ko").map(|module| decompressed(&module)).transpose()?;
        Ok(Files { image, disk_module, loop_module })
    }

    /// The suite's current kernel, whose packages have another name with every version.
    fn current(&self) -> Result<Vec<packages::Package>> {
        let Source::Deb { suite } = self.pins[0].source else { unreachable!("kernels come from Debian") };
        let image = packages::dependencies(suite, CURRENT)?.into_iter().find(|name| name.starts_with("linux-image-"));
        let image = image.with_context(|| format!("{suite} has no {CURRENT}"))?;
        let mut names = packages::dependencies(suite, &image)?;
        // From 7.x on the image is an empty package.
        names.retain(|name| name.starts_with("linux-binary-") || name.starts_with("linux-modules-"));
        names.retain(|name| !name.contains("unsigned"));
        if names.is_empty() {
            names.push(image);
        }
        let fetch = |name: String| packages::fetch(&Pin { name: Box::leak(name.into_boxed_str()), ..self.pins[0] });
        names.into_iter().map(fetch).collect()
    }
}

fn decompressed(module: &Path) -> Result<Vec<u8>> {
    if module.extension().is_none_or(|suffix| suffix != "xz") {
        return Ok(fs::read(module)?);
    }
    let output = Command::new("xz").arg("-dc").arg(module).output().context("running `xz`")?;
    anyhow::ensure!(output.status.success(), "xz: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// The first file whose name begins with `prefix`.
fn find(dir: &Path, prefix: &str, depth: u32) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let named = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    let file = entries.iter().filter(|path| path.is_file()).find(named).cloned();
    file.or_else(|| {
        let dirs = entries.iter().filter(|path| path.is_dir() && !path.is_symlink());
        if depth == 0 { None } else { dirs.clone().find_map(|dir| find(dir, prefix, depth - 1)) }
    })
}
