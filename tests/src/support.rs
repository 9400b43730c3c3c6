//! What was seen to work on which build of Postgres: `target/support/postgres.json`, for the table in the README.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use serde_json::{Value, json};
use xtask::packages::target_dir;
use xtask::servers::{Build, Kind, Server};

/// The entry of one build; written when it is dropped, also by a check that fails.
pub struct Support {
    build: Build,
    version: String,
    own_root: bool,
    begun: Instant,
    /// Ways the profile was taken, by check.
    passed: BTreeMap<&'static str, Vec<String>>,
}

impl Support {
    pub fn of(build: Build, server: &Server) -> Self {
        let (version, own_root) = (server.version.clone(), server.root.is_some());
        Self { build, version, own_root, begun: Instant::now(), passed: BTreeMap::new() }
    }

    /// A check held; `way` is how statements were taken.
    pub fn passed(&mut self, check: &'static str, way: &str) {
        println!("{}: {check} ({way})", self.build.name);
        self.passed.entry(check).or_default().push(way.into());
    }

    pub fn skipped(build: Build, reason: &str) {
        write(build, json!({ "status": "skipped", "reason": reason }));
    }
}

impl Drop for Support {
    fn drop(&mut self) {
        let status = if std::thread::panicking() { "failed" } else { "passed" };
        let entry = json!({
            "status": status,
            "version": self.version,
            "own_root": self.own_root,
            "seconds": self.begun.elapsed().as_secs(),
            "checks": self.passed,
        });
        write(self.build, entry);
    }
}

/// Puts the entry in the place of the build's older one.
fn write(build: Build, mut entry: Value) {
    let kind = match build.kind {
        Kind::Unstripped => "unstripped",
        Kind::Usdt => "stripped, USDT",
        // The table is of what others ship.
        Kind::Made | Kind::Own => return,
    };
    entry["name"] = build.name.into();
    entry["major"] = build.major.into();
    entry["kind"] = kind.into();
    let path = target_dir().join("support/postgres.json");
    let old = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Vec<Value>>(&bytes).ok());
    let mut entries: BTreeMap<String, Value> =
        old.into_iter().flatten().map(|entry| (entry["name"].to_string(), entry)).collect();
    entries.insert(entry["name"].to_string(), entry);
    let entries: Vec<Value> = entries.into_values().collect();
    let text = serde_json::to_string_pretty(&entries).expect("plain data");
    let directory = path.parent().expect("a directory");
    // A destructor must not panic: the file is a by-product.
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&path, text + "\n"));
    if let Err(error) = written {
        eprintln!("{}: {error}", path.display());
    }
}
