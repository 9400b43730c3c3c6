//! Writes that must read first: what they change is a part of a block that memory does not hold.
//!
//! The kernel keeps whole pages, or whole blocks where those are larger. A write of a part of one that is not in the page
//! cache waits for the device to read the rest of it.

use super::rule::{Confidence, Found, Rule, nothing};
use super::time::{bytes, duration, number, percent, severity_of, share, whole};
use crate::report::model::{FileBy, FileIo, Report};
use crate::vocabulary::{FileKind, Role, Word};

pub const RULE: Rule = Rule { id: "read_before_write", about: nothing, symptom: false, find };

/// Fewer are no pattern: the first write after a restart or to a log.
const ENOUGH: u64 = 50;
/// Share of the writes of that kind by that role, or of the time of those, from which on it is one.
const WORTH: f64 = 0.10;

/// Writes of one role to one kind of file.
type Row<'a> = (&'a Word<Role>, &'a Word<FileKind>, FileIo);

fn is_worth(row: &Row) -> bool {
    let io = &row.2;
    let of = |part: u64, all: u64| part as f64 > WORTH * all as f64;
    io.read_before_writes >= ENOUGH
        && (of(io.read_before_writes, io.writes) || of(io.read_before_write_ns, io.write_ns))
}

/// By role and kind, the largest time first.
fn groups(by: &[FileBy]) -> Vec<Row<'_>> {
    let mut groups: Vec<Row> = Vec::new();
    for one in by {
        match groups.iter_mut().find(|(role, kind, _)| **role == one.role && **kind == one.file_kind) {
            Some((.., io)) => io.add(&one.io),
            None => groups.push((&one.role, &one.file_kind, one.io)),
        }
    }
    groups.retain(is_worth);
    groups.sort_by_key(|(.., io)| std::cmp::Reverse(io.read_before_write_ns));
    groups
}

fn find(report: &Report) -> Option<Found> {
    let groups = groups(&report.storage.files.by);
    let (role, kind, io) = *groups.first()?;
    let clients: u64 =
        groups.iter().filter(|(role, ..)| **role == Role::ClientBackend).map(|(.., io)| io.read_before_write_ns).sum();
    let explained_ns = clients.min(whole(report));
    let evidence = groups
        .iter()
        .take(3)
        .map(|(role, kind, io)| {
            format!(
                "{kind} by {role}: {} of {} writes read {} first, {} each against {} for the others",
                number(io.read_before_writes),
                number(io.writes),
                bytes(io.read_before_write_bytes),
                duration(io.read_before_write_ns / io.read_before_writes.max(1)),
                duration(
                    io.write_ns.saturating_sub(io.read_before_write_ns)
                        / io.writes.saturating_sub(io.read_before_writes).max(1)
                ),
            )
        })
        .collect();
    let advice = match kind.known() {
        Some(FileKind::Wal) => {
            "A recycled WAL segment is no longer in the page cache when it is written again, in pieces smaller than a \
             block: wal_recycle = off (and wal_init_zero = off on a copy-on-write file system) gives new segments that \
             need no reading; a lower min_wal_size keeps fewer of them; memory, or a memory limit, that lets them stay \
             cached."
        }
        _ => {
            "The file system's blocks are larger than Postgres's pages of 8 kB, or writes are not aligned to them: use a \
             file system with blocks of at most 8 kB (4 kB is usual; recordsize = 8k on ZFS), below it partitions that \
             begin at a multiple of 1 MiB; memory, or a memory limit, that lets what is written again stay cached."
        }
    };
    Some(Found {
        severity: severity_of(share(report, explained_ns)),
        confidence: Confidence::High,
        title: format!(
            "{} of the {kind} writes of the {role} had to read from disk first",
            percent(io.read_before_writes as f64 / io.writes.max(1) as f64)
        ),
        evidence,
        advice: advice.into(),
        explained_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;
    use crate::report::fixture;

    fn report(role: &str, kind: &str, reading: u64) -> Report {
        let mut report = testing::report(&[("cpu", "", 1_000)]);
        let io = FileIo {
            writes: 1_000,
            write_bytes: 500_000,
            write_ns: 901_000_000,
            read_before_writes: reading,
            read_before_write_bytes: reading * 4096,
            read_before_write_ns: reading * 1_000_000,
            ..FileIo::default()
        };
        report.storage.files.by =
            vec![FileBy { role: fixture::word(role), file_kind: fixture::word(kind), file: "pg_wal/0".into(), io }];
        report
    }

    #[test]
    fn says_who_and_what() {
        let found = find(&RULE, &report("walreceiver", "wal", 900)).unwrap();
        assert_eq!(found.title, "90.0 % of the wal writes of the walreceiver had to read from disk first");
        assert_eq!(
            found.evidence[0],
            "wal by walreceiver: 900 of 1,000 writes read 3.52 MiB first, 1.00 ms each against 10.0 µs for the others"
        );
        assert!(found.advice.contains("wal_recycle = off") && found.explained_ns == 0);
        let found = find(&RULE, &report("client backend", "relation", 900)).unwrap();
        assert_eq!(found.explained_ns, 900_000_000);
        assert!(found.advice.contains("blocks of at most 8 kB"));
    }

    #[test]
    fn a_few_are_no_pattern() {
        assert_eq!(find(&RULE, &report("client backend", "log", 3)), None);
        assert_eq!(find(&RULE, &report("checkpointer", "relation", 0)), None);
    }
}
