//! The servers pgstrobe is tested on: each major version as its makers leave it (unstripped, without static probes) and
//! as Debian ships it (stripped, with USDT).

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    cluster::ClusterOptions,
    packages::{self, Pin, pins},
    source_build,
};

/// One build of one version.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    pub name: &'static str,
    pub major: u32,
    pub kind: Kind,
    /// None for [`Kind::Own`].
    pin: Option<Pin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With the names of its static functions, without static probes.
    Unstripped,
    /// With exported names only, and static probes.
    Usdt,
    /// Not optimised: the functions of messages are entered.
    Made,
    /// One that [`OWN_BUILD`] names, of any kind: a fork, a build with other options.
    Own,
}

/// Names the directory of the programs of a server that is to pass what every build passes.
pub const OWN_BUILD: &str = "PGSTROBE_OWN_BUILD";

/// A build on this machine.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where `postgres` and `initdb` are; within `root`, where there is one.
    pub bin_dir: PathBuf,
    /// Of the package.
    pub version: String,
    /// It runs in a root of its own.
    pub root: Option<PathBuf>,
}

const fn npm(name: &'static str, major: u32, pin: Pin) -> Build {
    Build { name, major, kind: Kind::Unstripped, pin: Some(pin) }
}

const fn debian(name: &'static str, major: u32, pin: Pin) -> Build {
    Build { name, major, kind: Kind::Usdt, pin: Some(pin) }
}

pub const BUILDS: [Build; 10] = [
    npm("npm-13", 13, pins::SERVER_13),
    npm("npm-14", 14, pins::SERVER_14),
    npm("npm-15", 15, pins::SERVER_15),
    npm("npm-16", 16, pins::SERVER_16),
    npm("npm-17", 17, pins::SERVER_17),
    npm("npm-18", 18, pins::SERVER_18),
    debian("debian-13", 13, pins::DEBIAN_13),
    debian("debian-15", 15, pins::DEBIAN_15),
    debian("debian-17", 17, pins::DEBIAN_17),
    debian("debian-18", 18, pins::DEBIAN_18),
];

/// Nobody ships it: it is none of [`BUILDS`].
pub const MADE: Build = Build { name: "made-15", major: 15, kind: Kind::Made, pin: Some(pins::SOURCE_15) };

impl Build {
    pub fn named(name: &str) -> Option<Self> {
        BUILDS.into_iter().chain([MADE]).find(|build| build.name == name)
    }

    /// The one that [`OWN_BUILD`] names, if it does.
    pub fn own() -> Option<Result<Self>> {
        let bin_dir = PathBuf::from(std::env::var_os(OWN_BUILD)?);
        let build = |version: String| {
            let major = version.split('.').next().unwrap_or_default().parse();
            let major = major.with_context(|| format!("{version:?} is no version"))?;
            Ok(Self { name: "own", major, kind: Kind::Own, pin: None })
        };
        Some(version(&bin_dir).and_then(build))
    }

    /// Gets the build where it is not here yet.
    pub fn provide(&self) -> Result<Server> {
        let Some(pin) = &self.pin else {
            let bin_dir = PathBuf::from(std::env::var_os(OWN_BUILD).context(OWN_BUILD)?);
            return Ok(Server { version: version(&bin_dir)?, bin_dir, root: None });
        };
        match self.kind {
            Kind::Unstripped | Kind::Own => {
                let package = packages::fetch(pin)?;
                let native = package.dir.join("package/native");
                restore_links(&native)?;
                Ok(Server { bin_dir: native.join("bin"), version: package.version, root: None })
            }
            Kind::Made => {
                let package = source_build::server(pin)?;
                Ok(Server { bin_dir: package.dir.join("bin"), version: package.version, root: None })
            }
            Kind::Usdt => {
                // Also the version that this machine may have installed: traps are in a file, and this one is nobody
                // else's.
                let package = packages::root(pin)?;
                let bin_dir = PathBuf::from(format!("/usr/lib/postgresql/{}/bin", self.major));
                Ok(Server { bin_dir, version: package.version, root: Some(package.dir) })
            }
        }
    }
}

impl Server {
    /// Options for a cluster of this server.
    pub fn with(&self, settings: &[&str]) -> ClusterOptions {
        let mut options = ClusterOptions::with(settings);
        options.bin_dir = Some(self.bin_dir.clone());
        options.root = self.root.clone();
        if self.root.is_some() {
            // The compiler's library is not unpacked with it.
            options.settings.push("jit = off".into());
        }
        options
    }
}

/// `15.18` of "postgres (PostgreSQL) 15.18 (Debian …)".
fn version(bin_dir: &Path) -> Result<String> {
    let said = packages::run(Command::new(bin_dir.join("postgres")).arg("--version"))?;
    Ok(said.split_whitespace().nth(2).unwrap_or_default().to_owned())
}

/// The package keeps its symbolic links in a list (npm packages hold none).
pub fn restore_links(native: &Path) -> Result<()> {
    let list = native.join("pg-symlinks.json");
    let Ok(list) = fs::read_to_string(&list) else { return Ok(()) };
    let links: Vec<HashMap<String, String>> = serde_json::from_str(&list)?;
    let package = native.parent().context("a package without a directory")?;
    for link in links {
        let [source, target] = ["source", "target"].map(|key| link.get(key).map(|path| package.join(path)));
        let (Some(source), Some(target)) = (source, target) else { continue };
        if target.symlink_metadata().is_err() {
            symlink(&source, &target).with_context(|| format!("linking {}", target.display()))?;
        }
    }
    Ok(())
}
