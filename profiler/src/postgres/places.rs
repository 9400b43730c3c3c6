//! Where the parts of a server's data lie, as this process reaches them: which disk holds them is a question of the server's
//! own mounts, not of what its paths mean here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    patience::{Domain, Patience},
    server::Server,
};

/// Tablespaces looked at.
const MOST_TABLESPACES: usize = 1000;

/// A directory of a server that may be on a file system of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// `data`, `wal` or `tablespace`.
    pub what: &'static str,
    /// Its file system is looked into by the reader of this domain.
    pub domain: Domain,
    pub path: PathBuf,
}

/// The data directory, `pg_wal`, and the tablespaces of a server; fewer where its file system does not answer in time.
pub fn of(server: &Server) -> Vec<Place> {
    let process = PathBuf::from(format!("/proc/{}", server.cluster.postmaster_pid));
    below(&process.join("cwd"), &process.join("root"), &server.patience)
}

/// The same of the server whose data directory and root are these.
fn below(data: &Path, root: &Path, patience: &Patience) -> Vec<Place> {
    let (own, root) = (data.to_owned(), root.to_owned());
    let linked = move || {
        let wal = follow(&root, own.join("pg_wal"));
        let spaces = fs::read_dir(own.join("pg_tblspc")).into_iter().flatten().flatten().take(MOST_TABLESPACES);
        let spaces = spaces.filter_map(|space| {
            let oid = space.file_name().to_str()?.parse().ok()?;
            Some((oid, follow(&root, space.path())))
        });
        (wal, spaces.collect::<Vec<(u32, PathBuf)>>())
    };
    let mut places = vec![Place { what: "data", domain: Domain::Data, path: data.to_owned() }];
    if let Some((wal, spaces)) = patience.within(Domain::Data, linked) {
        places.push(Place { what: "wal", domain: Domain::Wal, path: wal });
        let place = |(oid, path)| Place { what: "tablespace", domain: Domain::of(oid), path };
        places.extend(spaces.into_iter().map(place));
    }
    places
}

/// Where a path leads that may be a link: an absolute link is the server's own path, which may mean another directory here.
fn follow(root: &Path, path: PathBuf) -> PathBuf {
    led(root, path.clone(), fs::read_link(path))
}

/// Where a link of the server leads whose target is known.
pub fn led(root: &Path, link: PathBuf, target: io::Result<PathBuf>) -> PathBuf {
    match target {
        Ok(target) if target.is_absolute() => root.join(target.strip_prefix("/").unwrap_or(&target)),
        _ => link,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_below_the_root_of_the_server() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        symlink("/wal/main", data.join("pg_wal")).unwrap();
        symlink("/fast/space", data.join("pg_tblspc/16400")).unwrap();
        fs::create_dir(data.join("pg_tblspc/16401")).unwrap();
        fs::create_dir(data.join("pg_tblspc/pgsql_tmp")).unwrap();
        let mut places = below(&data, root.path(), &Patience::default());
        places.sort_by_key(|place| place.domain);
        let at = |path: &str| root.path().join(path);
        let expected = [
            ("data", Domain::Data, at("data")),
            ("wal", Domain::Wal, at("wal/main")),
            ("tablespace", Domain::Tablespace(16400), at("fast/space")),
            ("tablespace", Domain::Tablespace(16401), at("data/pg_tblspc/16401")),
        ];
        assert_eq!(places, expected.map(|(what, domain, path)| Place { what, domain, path }));
    }

    #[test]
    fn a_directory_that_does_not_answer_has_no_links() {
        let patience = Patience::until(std::time::Duration::from_millis(10));
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        assert_eq!(patience.within(Domain::Data, move || held.recv().is_ok()), None);
        let places = below(Path::new("/"), Path::new("/"), &patience);
        assert_eq!(places.iter().map(|place| place.what).collect::<Vec<_>>(), ["data"]);
        drop(go_on);
    }
}
