//! Checkpoints as the server logs them (`log_checkpoints = on`).

use pgstrobe::report::model::Checkpoint;
use xtask::cluster::Cluster;

/// The log is rounded to milliseconds.
const CLOSE_MS: f64 = 5.0;

/// Times in milliseconds, sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoggedCheckpoint {
    /// Such as `wal` or `immediate force wait`.
    pub flags: String,
    pub restartpoint: bool,
    pub buffers: u64,
    pub write_ms: f64,
    pub sync_ms: f64,
    pub total_ms: f64,
    pub files: u64,
    pub longest_ms: f64,
    pub segments: [u64; 3],
    pub distance_bytes: f64,
}

/// Those that ended, from the byte `from` of the log on.
pub fn logged_checkpoints(cluster: &Cluster, from: u64) -> Vec<LoggedCheckpoint> {
    let log = std::fs::read(cluster.log_path()).expect("server log");
    let text = String::from_utf8_lossy(&log[from as usize..]).into_owned();
    let mut flags = String::new();
    let mut all = Vec::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("point starting:") {
            flags = rest.trim().into();
        } else if let Some((before, rest)) = line.split_once("point complete: ") {
            all.push(parse(rest, &flags, before.ends_with("restart")));
        }
    }
    all
}

fn parse(line: &str, flags: &str, restartpoint: bool) -> LoggedCheckpoint {
    // wrote 1787 buffers (10.9%); 0 WAL file(s) added, 0 removed, 1 recycled; write=0.950 s, sync=0.012 s, …
    let after = |name: &str| {
        let rest = line.split_once(name).map(|(_, rest)| rest).unwrap_or_else(|| panic!("{name} in {line}"));
        let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        number.parse::<f64>().unwrap_or_else(|_| panic!("{name} in {line}"))
    };
    let before = |name: &str| {
        let (rest, _) = line.split_once(name).unwrap_or_else(|| panic!("{name} in {line}"));
        rest.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{name} in {line}"))
    };
    LoggedCheckpoint {
        flags: flags.into(),
        restartpoint,
        buffers: after("wrote ") as u64,
        write_ms: after("write=") * 1e3,
        sync_ms: after(" sync=") * 1e3,
        total_ms: after("total=") * 1e3,
        files: after("sync files=") as u64,
        longest_ms: after("longest=") * 1e3,
        segments: [before(" WAL file(s) added"), before(" removed"), before(" recycled")],
        distance_bytes: after("distance=") * 1024.0,
    }
}

/// How long the log is now, in bytes.
pub fn log_length(cluster: &Cluster) -> u64 {
    std::fs::metadata(cluster.log_path()).expect("log").len()
}

/// Those that ended in the profile, against as many that the server logged in the same time.
pub fn assert_as_logged(checkpoints: &[Checkpoint], logged: &[LoggedCheckpoint]) {
    let ended: Vec<&Checkpoint> = checkpoints.iter().filter(|one| !one.running).collect();
    assert_eq!(ended.len(), logged.len(), "{ended:#?}\n{logged:#?}");
    for (seen, said) in ended.iter().zip(logged) {
        println!(
            "{} {:.1} + {:.1}, {:.1} ms in all; the server: {}, {} + {}, {} ms",
            seen.cause,
            seen.write_ns as f64 / 1e6,
            seen.sync_ns as f64 / 1e6,
            seen.total_ns as f64 / 1e6,
            said.flags,
            said.write_ms,
            said.sync_ms,
            said.total_ms
        );
        let close = |ns: u64, ms: f64| (ns as f64 / 1e6 - ms).abs() <= CLOSE_MS;
        for (ns, ms) in [
            (seen.write_ns, said.write_ms),
            (seen.sync_ns, said.sync_ms),
            (seen.total_ns, said.total_ms),
            (seen.longest_sync_ns, said.longest_ms),
        ] {
            assert!(close(ns, ms), "{ns} ns, the server says {ms} ms: {seen:#?}\n{said:#?}");
        }
        assert_eq!((seen.buffers, seen.files), (said.buffers, said.files), "{seen:#?}");
        let segments = [seen.segments_added, seen.segments_removed, seen.segments_recycled];
        assert_eq!(segments, said.segments, "{seen:#?}");
        assert_eq!(seen.restartpoint, said.restartpoint);
        if seen.cause == "unknown" {
            // Followed by another within a tick: pg_control is of that one already.
            assert!(next_follows(&ended, seen), "{seen:#?}");
            continue;
        }
        let has = |flag: &str| said.flags.split(' ').any(|word| word == flag);
        let cause = match () {
            () if has("shutdown") => "shutdown",
            () if has("wal") => "wal",
            () if has("time") => "time",
            () => "requested",
        };
        assert_eq!(seen.cause, cause, "{seen:#?}\n{said:#?}");
        // Whole kilobytes of the log.
        let distance = seen.distance_bytes.expect("a distance") as f64;
        assert!((distance - said.distance_bytes).abs() <= 1024.0, "{distance}: {said:?}");
    }
}

/// Whether another one, or the one before, is so close that the redo position between them cannot be read.
fn next_follows(all: &[&Checkpoint], one: &Checkpoint) -> bool {
    all.iter().any(|other| {
        let apart = other.began_ns - one.began_ns;
        apart != 0 && apart.unsigned_abs() < 1_000_000_000
    })
}
