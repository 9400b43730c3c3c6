//! Which tablespace a directory outside the data directory is: the kernel shows the path behind the link.

use std::path::{Path, PathBuf};

use crate::postgres::patience::{Domain, Patience};

pub struct Tablespaces {
    /// `pg_tblspc`, as this process reaches it.
    links: PathBuf,
    /// OID and directory, by its components.
    known: Vec<(u32, Vec<String>)>,
    patience: Patience,
}

impl Tablespaces {
    pub fn of(directory: &Path, patience: Patience) -> Self {
        Self { links: directory.join("pg_tblspc"), known: Vec::new(), patience }
    }

    /// OID of the tablespace whose directory ends like this; `above` is as much of it as is known, which is nothing for
    /// the root of a file system of its own.
    pub fn find(&mut self, above: &str) -> Option<u32> {
        let above: Vec<&str> = above.split('/').filter(|part| !part.is_empty()).collect();
        one(&self.known, &above).or_else(|| {
            self.look();
            one(&self.known, &above)
        })
    }

    fn look(&mut self) {
        let links = self.links.clone();
        self.known = self.patience.within(Domain::Data, move || targets(&links)).unwrap_or_default();
    }
}

/// OIDs, and where their links lead, by its components.
fn targets(links: &Path) -> Vec<(u32, Vec<String>)> {
    let links = std::fs::read_dir(links).into_iter().flatten().flatten();
    let target = |link: std::fs::DirEntry| {
        let oid = link.file_name().to_str()?.parse().ok()?;
        let to = std::fs::read_link(link.path()).ok()?;
        let parts = to.components().filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        });
        Some((oid, parts.collect()))
    };
    links.filter_map(target).collect()
}

/// The only one that fits.
fn one(known: &[(u32, Vec<String>)], above: &[&str]) -> Option<u32> {
    let mut fit = known.iter().filter(|(_, parts)| parts.iter().rev().zip(above.iter().rev()).all(|(a, b)| a == b));
    let first = fit.next()?;
    fit.next().is_none().then_some(first.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_may_fit() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pg_tblspc")).unwrap();
        let link =
            |oid: &str, to: &str| std::os::unix::fs::symlink(to, dir.path().join("pg_tblspc").join(oid)).unwrap();
        link("16400", "/mnt/fast/pg");
        let mut tablespaces = Tablespaces::of(dir.path(), Patience::default());
        assert_eq!(tablespaces.find("mnt/fast/pg/"), Some(16_400));
        assert_eq!(tablespaces.find("fast/pg"), Some(16_400));
        assert_eq!(tablespaces.find(""), Some(16_400), "the root of a file system");
        assert_eq!(tablespaces.find("mnt/slow/pg"), None);
        link("16401", "/mnt/slow/pg");
        assert_eq!(tablespaces.find("mnt/slow/pg"), Some(16_401));
        assert_eq!(tablespaces.find("pg"), None, "both");
    }
}
