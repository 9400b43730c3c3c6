//! Says what a file of a server is from its path, so that a sync or a write is told by purpose: WAL, relation,
//! visibility map, transaction status, temporary file.
//!
//! The kernel hands over names from the leaf upward and only a few of them, and what it walks is the filesystem's own
//! tree: the data directory may be cut off, mounted elsewhere, or reached through a tablespace link. So the visible
//! part is first matched against the end of the data directory, and otherwise known by the shape of what lies below it.
//! The layout is the one of the chapter "Database File Layout" of the PostgreSQL manual, versions 9.6 to 18.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::catalog::{DEFAULT_TABLESPACE, GLOBAL_TABLESPACE};
use crate::vocabulary::{FileKind, Fork};

/// Which file of a relation, or of anything else, it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    pub kind: FileKind,
    /// Path below the data directory where it is inside it, otherwise as much as is known. `.` is the data directory.
    pub file: String,
    /// For the forks of a relation.
    pub detail: Option<RelationFile>,
}

/// The numbers in the name of a relation's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelationFile {
    /// OID of the tablespace, where the path shows it: 1664 for `global`, 1663 for `base`, absent behind a tablespace's
    /// link (src/include/catalog/pg_tablespace.dat).
    pub tablespace: Option<u32>,
    /// OID of the database; `None` for what all databases share.
    pub database: Option<u32>,
    /// The file number, which is not the OID of the relation after a rewrite.
    pub relfilenode: u32,
    pub fork: Fork,
    /// Number of the segment, 1 GB each in a usual build.
    pub segment: u32,
    /// Number of the backend that owns a temporary table.
    pub temporary_of: Option<u32>,
}

/// Classifies `path`, whose components lead from the highest known name down to the file, with or without leading
/// slash. `is_dir` says that its inode is a directory.
pub fn classify(path: &str, data_directory: &Path, is_dir: bool) -> FilePlace {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    classify_parts(&parts, data_directory, is_dir)
}

/// As [`classify`], for components that are already apart.
pub fn classify_parts(parts: &[&str], data_directory: &Path, is_dir: bool) -> FilePlace {
    let inside = below(parts, data_directory);
    // Where the data directory was not seen, or matched by accident, an unmistakable shape counts, the longest one
    // first.
    let first = inside.unwrap_or(0);
    let (start, known) = (first..parts.len())
        .find_map(|start| recognise(&parts[start..], is_dir).map(|known| (start, Some(known))))
        .unwrap_or((first, None));
    let rest = &parts[start..];
    let file = if rest.is_empty() { ".".into() } else { rest.join("/") };
    let (kind, detail) = match known {
        _ if is_dir => (FileKind::Directory, None),
        Some(known) => known,
        None => (by_name(rest, inside.is_some()), None),
    };
    FilePlace { kind, file, detail }
}

/// Index of the first component below the data directory: the longest end of the data directory that begins the path.
fn below(parts: &[&str], data_directory: &Path) -> Option<usize> {
    let directory: Vec<_> = data_directory
        .components()
        .filter_map(|component| match component {
            std::path::Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let most = directory.len().min(parts.len());
    let matches =
        |length: &usize| directory[directory.len() - length..].iter().zip(parts).all(|(name, part)| **name == **part);
    (1..=most).rev().find(matches)
}

type Known = (FileKind, Option<RelationFile>);

/// Knows a path relative to a data directory (or to a tablespace) by its shape alone.
fn recognise(rest: &[&str], is_dir: bool) -> Option<Known> {
    let plain = |kind| Some((kind, None));
    match rest {
        ["pg_wal" | "pg_xlog"] if is_dir => plain(FileKind::Directory),
        ["pg_wal" | "pg_xlog", "archive_status", ..] => plain(FileKind::WalStatus),
        ["pg_wal" | "pg_xlog", "summaries", ..] => plain(FileKind::WalSummary),
        ["pg_wal" | "pg_xlog", name] => wal(name).and_then(plain),
        ["pg_xact" | "pg_clog" | "pg_subtrans" | "pg_commit_ts" | "pg_notify" | "pg_serial", ..]
        | ["pg_multixact", "members" | "offsets", ..] => plain(FileKind::Slru),
        ["pg_multixact"] if is_dir => plain(FileKind::Slru),
        ["pg_replslot", ..] => plain(FileKind::Slot),
        ["pg_logical", ..] => plain(FileKind::Logical),
        ["pg_snapshots", ..] => plain(FileKind::Snapshot),
        ["pg_twophase", ..] => plain(FileKind::TwoPhase),
        ["pg_stat" | "pg_stat_tmp", ..] => plain(FileKind::Stat),
        ["pg_dynshmem", ..] => plain(FileKind::SharedMemory),
        // In /dev/shm, whose own name a walk to the root of that filesystem does not show.
        [name] if name.strip_prefix("PostgreSQL.").is_some_and(|name| number(name).is_some()) => {
            plain(FileKind::SharedMemory)
        }
        ["global", "pg_control"] => plain(FileKind::Control),
        ["global", name] => in_database(name, Some(GLOBAL_TABLESPACE), None),
        ["global"] | ["base"] | ["pg_tblspc"] | ["pg_tblspc", _] if is_dir => plain(FileKind::Directory),
        ["base", rest @ ..] => in_tablespace(rest, Some(DEFAULT_TABLESPACE), is_dir),
        ["pg_tblspc", oid, catalog, rest @ ..] if is_catalog_version(catalog) => {
            in_tablespace(rest, oid.parse().ok(), is_dir)
        }
        [catalog, rest @ ..] if is_catalog_version(catalog) => in_tablespace(rest, None, is_dir),
        _ => None,
    }
}

/// Below `base` or the version directory of a tablespace.
fn in_tablespace(rest: &[&str], tablespace: Option<u32>, is_dir: bool) -> Option<Known> {
    match rest {
        ["pgsql_tmp", ..] => Some((FileKind::Temp, None)),
        [] if is_dir => Some((FileKind::Directory, None)),
        [database] if is_dir => number(database).map(|_| (FileKind::Directory, None)),
        [database, name] => in_database(name, tablespace, Some(number(database)?)),
        _ => None,
    }
}

/// In the directory of one database, or in `global`.
fn in_database(name: &str, tablespace: Option<u32>, database: Option<u32>) -> Option<Known> {
    match name {
        "pg_filenode.map" | "pg_filenode.map.tmp" => return Some((FileKind::Relmap, None)),
        "PG_VERSION" => return Some((FileKind::Config, None)),
        _ if name.starts_with("pg_internal.init") => return Some((FileKind::Relcache, None)),
        _ if name.starts_with("pgsql_tmp") => return Some((FileKind::Temp, None)),
        _ => {}
    }
    let (name, temporary_of) = match name.strip_prefix('t').and_then(|name| name.split_once('_')) {
        Some((backend, name)) => (name, Some(number(backend)?)),
        None => (name, None),
    };
    let (name, segment) = match name.split_once('.') {
        Some((name, segment)) => (name, number(segment)?),
        None => (name, 0),
    };
    let (name, fork, kind) = match name.split_once('_') {
        None => (name, Fork::Main, FileKind::Relation),
        Some((name, "fsm")) => (name, Fork::Fsm, FileKind::Fsm),
        Some((name, "vm")) => (name, Fork::Vm, FileKind::Vm),
        Some((name, "init")) => (name, Fork::Init, FileKind::Init),
        Some(_) => return None,
    };
    let relfilenode = number(name)?;
    Some((kind, Some(RelationFile { tablespace, database, relfilenode, fork, segment, temporary_of })))
}

/// File names of `pg_wal` (src/include/access/xlog_internal.h).
fn wal(name: &str) -> Option<FileKind> {
    let stem = name.split('.').next().unwrap_or(name);
    let hex = stem.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    let end = &name[stem.len()..];
    match stem.len() {
        24 if hex && end.ends_with(".backup") => Some(FileKind::WalHistory),
        24 if hex && (end.is_empty() || end.starts_with(".partial")) => Some(FileKind::Wal),
        8 if hex && end.starts_with(".history") => Some(FileKind::WalHistory),
        _ if name.starts_with("xlogtemp.") || name == "RECOVERYXLOG" => Some(FileKind::Wal),
        _ if name == "RECOVERYHISTORY" => Some(FileKind::WalHistory),
        _ => None,
    }
}

/// What a name alone says; names common outside of servers count only inside the data directory.
fn by_name(rest: &[&str], inside: bool) -> FileKind {
    let Some(&name) = rest.last() else { return FileKind::Other };
    if name.starts_with(".s.PGSQL.") {
        return if name.ends_with(".lock") { FileKind::Lockfile } else { FileKind::Socket };
    }
    match name {
        "postmaster.pid" => FileKind::Lockfile,
        "postmaster.opts"
        | "postgresql.conf"
        | "postgresql.auto.conf"
        | "postgresql.auto.conf.tmp"
        | "pg_hba.conf"
        | "pg_ident.conf" => FileKind::Config,
        // `pg_wal` may be a link to a directory of another name.
        _ if !inside => wal(name).unwrap_or(FileKind::Other),
        "PG_VERSION" | "recovery.conf" | "standby.signal" | "recovery.signal" => FileKind::Config,
        "current_logfiles" | "current_logfiles.tmp" => FileKind::Log,
        _ if rest.len() > 1 && matches!(rest[0], "log" | "pg_log") => FileKind::Log,
        _ if name.ends_with(".conf") => FileKind::Config,
        _ => FileKind::Other,
    }
}

/// `PG_<major>_<catalog version>` (src/include/common/relpath.h).
fn is_catalog_version(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    name.strip_prefix("PG_")
        .and_then(|name| name.split_once('_'))
        .is_some_and(|(major, catalog)| digits(major) && digits(catalog))
}

/// A decimal number as Postgres writes it: digits only.
fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "/var/lib/postgresql/15/main";

    #[track_caller]
    fn check(path: &str, kind: &str, file: &str) -> FilePlace {
        let place = classify(path, Path::new(DIRECTORY), false);
        assert_eq!((place.kind.name(), place.file.as_str()), (kind, file), "{path}");
        place
    }

    #[test]
    fn every_kind_below_the_data_directory() {
        for (file, kind) in [
            ("pg_wal/000000010000000000000001", "wal"),
            ("pg_xlog/000000010000000A000000FF.partial", "wal"),
            ("pg_wal/xlogtemp.4711", "wal"),
            ("pg_wal/00000002.history", "wal_history"),
            ("pg_wal/000000010000000000000002.00000028.backup", "wal_history"),
            ("pg_wal/archive_status/000000010000000000000001.ready", "wal_status"),
            ("pg_wal/summaries/0000000100000000010000280000000001532AD8.summary", "wal_summary"),
            ("base/5/16384", "relation"),
            ("base/5/16384.12", "relation"),
            ("base/5/t3_16384", "relation"),
            ("base/5/16384_fsm", "fsm"),
            ("base/5/16384_vm.1", "vm"),
            ("base/5/16384_init", "init"),
            ("global/1262", "relation"),
            ("global/1262_vm", "vm"),
            ("global/pg_control", "control"),
            ("global/pg_filenode.map", "relmap"),
            ("base/5/pg_filenode.map", "relmap"),
            ("base/5/pg_internal.init", "relcache"),
            ("base/pgsql_tmp/pgsql_tmp4711.0", "temp"),
            ("base/pgsql_tmp/pgsql_tmp4711.0.fileset/0.1", "temp"),
            ("pg_tblspc/16400/PG_15_202209061/5/16384", "relation"),
            ("pg_tblspc/16400/PG_15_202209061/pgsql_tmp/pgsql_tmp1.0", "temp"),
            ("pg_xact/0000", "slru"),
            ("pg_clog/0000", "slru"),
            ("pg_multixact/members/0000", "slru"),
            ("pg_multixact/offsets/0000", "slru"),
            ("pg_subtrans/0000", "slru"),
            ("pg_commit_ts/0000", "slru"),
            ("pg_notify/0000", "slru"),
            ("pg_serial/0000", "slru"),
            ("pg_replslot/standby/state.tmp", "slot"),
            ("pg_logical/snapshots/0-15A9B18.snap", "logical"),
            ("pg_snapshots/00000003-0000001B-1", "snapshot"),
            ("pg_twophase/000002E5", "twophase"),
            ("pg_stat/pgstat.stat", "stat"),
            ("pg_stat_tmp/global.stat", "stat"),
            ("pg_dynshmem/mmap.1", "shared_memory"),
            ("postmaster.pid", "lockfile"),
            ("postmaster.opts", "config"),
            ("postgresql.auto.conf", "config"),
            ("conf.d/extra.conf", "config"),
            ("PG_VERSION", "config"),
            ("log/postgresql-Mon.log", "log"),
            ("backup_label", "other"),
            ("base/5/strange", "other"),
            ("pg_wal/strange", "other"),
        ] {
            check(&format!("{DIRECTORY}/{file}"), kind, file);
            check(&format!("15/main/{file}"), kind, file);
            check(&format!("main/{file}"), kind, file);
        }
    }

    #[test]
    fn known_by_shape_where_the_data_directory_is_out_of_sight() {
        check("base/5/16384", "relation", "base/5/16384");
        check("volumes/pg/_data/base/5/16384", "relation", "base/5/16384");
        check("home/base/pg/base/5/16384_vm", "vm", "base/5/16384_vm");
        check("_data/pg_wal/000000010000000000000001", "wal", "pg_wal/000000010000000000000001");
        check("mnt/fast/PG_15_202209061/5/16384.2", "relation", "PG_15_202209061/5/16384.2");
        check("mnt/fast/PG_9.6_201608131/5/16384", "relation", "PG_9.6_201608131/5/16384");
        check("/dev/shm/PostgreSQL.1234567", "shared_memory", "PostgreSQL.1234567");
        check("/tmp/.s.PGSQL.5432", "socket", "tmp/.s.PGSQL.5432");
        check("/tmp/.s.PGSQL.5432.lock", "lockfile", "tmp/.s.PGSQL.5432.lock");
        check("/etc/postgresql/15/main/pg_hba.conf", "config", "etc/postgresql/15/main/pg_hba.conf");
        check("/etc/resolv.conf", "other", "etc/resolv.conf");
        check("srv/log/16384", "other", "srv/log/16384");
        check("mnt/wal/000000010000000000000001", "wal", "mnt/wal/000000010000000000000001");
        check("main/volumes/pg/base/5/16384", "relation", "base/5/16384");
        check("", "other", ".");
    }

    #[test]
    fn the_numbers_of_a_relation() {
        let detail = |path: &str| classify(path, Path::new(DIRECTORY), false).detail;
        let file = RelationFile {
            tablespace: Some(1663),
            database: Some(5),
            relfilenode: 16384,
            fork: Fork::Main,
            segment: 0,
            temporary_of: None,
        };
        assert_eq!(detail("main/base/5/16384"), Some(file));
        assert_eq!(detail("main/base/5/16384.3"), Some(RelationFile { segment: 3, ..file }));
        assert_eq!(detail("main/base/5/t7_16384"), Some(RelationFile { temporary_of: Some(7), ..file }));
        assert_eq!(detail("main/base/5/16384_fsm.1"), Some(RelationFile { fork: Fork::Fsm, segment: 1, ..file }));
        let shared = RelationFile { tablespace: Some(1664), database: None, ..file };
        assert_eq!(detail("main/global/16384"), Some(shared));
        let elsewhere = RelationFile { tablespace: Some(16400), ..file };
        assert_eq!(detail("main/pg_tblspc/16400/PG_15_202209061/5/16384"), Some(elsewhere));
        assert_eq!(detail("PG_15_202209061/5/16384"), Some(RelationFile { tablespace: None, ..file }));
        for bad in ["base/5/99999999999", "base/5/16384_x", "base/5/16384.", "base/5/+1", "base/5/t_1", "base/x/1"] {
            assert_eq!(detail(&format!("main/{bad}")), None, "{bad}");
        }
    }

    #[test]
    fn directories() {
        for (path, file) in [
            ("15/main", "."),
            ("15/main/pg_wal", "pg_wal"),
            ("main/base/5", "base/5"),
            ("_data/base/5", "base/5"),
            ("main/global", "global"),
            ("main/pg_replslot/standby", "pg_replslot/standby"),
        ] {
            let place = classify(path, Path::new(DIRECTORY), true);
            assert_eq!((place.kind.name(), place.file.as_str()), ("directory", file), "{path}");
        }
    }
}
