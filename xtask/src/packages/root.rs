//! A Debian server with all that it needs to run, in one directory: a root to run it in where this machine's own C
//! library is too old for it.
//!
//! The server is pinned. Its libraries are those that its suite has now: they must fit the server taken and each other,
//! they are not what is under test, and apt holds them against the suite's signature.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{Apt, Package, Pin, Source, fetch, run, target_dir};

/// What no package names as a dependency and a server still needs: `initdb` starts the server through a shell.
const ALSO: [&str; 2] = ["dash", "tzdata"];

/// The root of a server's package, made where it is not there yet.
pub fn root(pin: &Pin) -> Result<Package> {
    let Source::Deb { suite } = pin.source else { anyhow::bail!("{} is no Debian package", pin.name) };
    let Package { dir: server, version } = fetch(pin)?;
    let packages = target_dir().join("packages");
    let dir = packages.join(format!("root-{}_{version}", pin.name));
    if !dir.is_dir() {
        fs::create_dir_all(&packages)?;
        // Made beside its place and renamed at the end, so that a directory in its place is a whole one.
        let scratch = tempfile::Builder::new().prefix(".").tempdir_in(&packages)?;
        let made = scratch.path().join("root");
        fill(&made, suite, pin.name, &server).with_context(|| format!("making a root for {} {version}", pin.name))?;
        fs::rename(&made, &dir)?;
    }
    Ok(Package { dir, version })
}

fn fill(root: &Path, suite: &str, server: &str, unpacked: &Path) -> Result<()> {
    run(Command::new("cp").arg("-a").arg(unpacked).arg(root))?;
    let apt = Apt::of(suite)?;
    let graph = run(apt.command("apt-cache").args(["depends", "--recurse", "--important", server]))?;
    let names = libraries(&graph, server);
    ensure!(names.contains("libc6"), "{suite} has no dependencies of {server}");
    let files = tempfile::tempdir()?;
    run(apt.command("apt-get").args(["--quiet=2", "download"]).args(names).args(ALSO).current_dir(&files))?;
    for file in fs::read_dir(&files)? {
        run(Command::new("dpkg").arg("-x").arg(file?.path()).arg(root))?;
    }
    // Suites since bookworm ship everything below /usr, and the package of the links is for a whole system.
    for name in ["bin", "lib", "lib64"] {
        if !root.join(name).exists() {
            symlink(format!("usr/{name}"), root.join(name))?;
        }
    }
    if !root.join("bin/sh").exists() {
        symlink("dash", root.join("bin/sh"))?;
    }
    for dir in ["dev", "proc", "tmp", "etc", "var/lib/postgresql"] {
        fs::create_dir_all(root.join(dir))?;
    }
    Ok(())
}

/// The libraries a server depends on, directly and through each other, from what `apt-cache depends` prints. LLVM, large
/// and for compiled expressions only, is left out.
fn libraries(graph: &str, server: &str) -> BTreeSet<String> {
    let mut depends: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut of = "";
    for line in graph.lines() {
        if !line.starts_with(' ') {
            of = line.trim();
        } else if let Some((_, name)) = line.split_once("Depends: ") {
            depends.entry(of).or_default().push(name.trim());
        }
    }
    let library = |name: &str| (name.starts_with("lib") && !name.starts_with("libllvm")) || name == "zlib1g";
    let mut found = BTreeSet::new();
    let mut look = vec![server];
    while let Some(name) = look.pop() {
        for &name in depends.get(name).into_iter().flatten().filter(|name| library(name)) {
            if found.insert(name.to_string()) {
                look.push(name);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn libraries_are_followed_and_programs_are_not() {
        let graph = "server\n |Depends: locales\n  Depends: libxml2\n  Depends: libllvm19\n  Depends: perl\n\
                     libxml2\n  PreDepends: libc6\n  Depends: <debconf-2.0>\n    debconf\nperl\n  Depends: libperl5\n\
                     libllvm19\n  Depends: libedit2\nlibc6\n  Depends: libgcc-s1\nlibgcc-s1\n  Depends: zlib1g\n";
        let found: Vec<String> = super::libraries(graph, "server").into_iter().collect();
        assert_eq!(found, ["libc6", "libgcc-s1", "libxml2", "zlib1g"]);
    }
}
