//! The bound on pgstrobe's own memory, with more of everything than is kept apart: backends that come and go, statement
//! classes with long texts, files that are synced. In a process of its own, because the resident memory is looked at.

use pgstrobe::{
    aggregate::{Aggregate, MAX_BACKENDS, MAX_CLASSES},
    instrument::own_rss_bytes,
    postgres::backend::{Identity, Role},
    report::model::Report,
};
use pgstrobe_common::{
    ledger::{Ledger, PARTS, Part},
    record::{Exit, Finished, Header, PATH_PART_LEN, PATH_PARTS, STATEMENT_QUERY_ID, Sync, TEXT_LEN},
};

const BOUND: u64 = 256 << 20;
const MICROSECOND: u64 = 1_000;

/// A ledger with all parts in use; half of the wait events differ from turn to turn.
fn ledger(turn: u32) -> Ledger {
    let mut ledger =
        Ledger { cpu_ns: 100, woken_ns: 100, other_ns: 100, switches: 9, other_count: 1, ..Ledger::default() };
    for (i, part) in ledger.parts.iter_mut().enumerate() {
        let event = (turn as usize * PARTS + i) % 16;
        // pread64 and fdatasync: two causes.
        let context = [17, 75][event % 2];
        *part = Part { wait_event_info: 0x0a00_0000 + event as u32, context, count: 1, ns: 100, ..Part::default() };
    }
    ledger
}

/// Ten statements of one backend over ten powers of two of time, the spread of a query that is fast but for its tail.
fn work(aggregate: &mut Aggregate, pid: u32, class: u64) {
    for turn in 0..10u32 {
        let start_ns = 1_000_000_000;
        let end_ns = start_ns + ((30 * MICROSECOND) << turn) + u64::from(pid);
        let class_key = class + u64::from(turn % 2);
        let flags = STATEMENT_QUERY_ID;
        let finished = Finished { start_ns, end_ns, class_key, flags, sent_bytes: 100, ..Finished::default() };
        aggregate.statement(pid, &finished, Some(&ledger(turn)));
    }
}

fn exit(pid: u32) -> Exit {
    Exit { header: Header::of::<Exit>(0, pid, 0), outside_ns: 1_000, outside: ledger(pid), ..Exit::default() }
}

fn sync(aggregate: &mut Aggregate, pid: u32, file: u32) {
    let mut path = [[0; PATH_PART_LEN]; PATH_PARTS];
    for (part, name) in path.iter_mut().zip([format!("{file}"), "1663".into(), "base".into(), "data".into()]) {
        part[..name.len()].copy_from_slice(name.as_bytes());
    }
    let header = Header::of::<Sync>(0, pid, 0);
    let duration_ns = 100 * MICROSECOND;
    let (syscall, ret, backend_type, file_mode) = (0, 0, u32::MAX, 0o100_600);
    aggregate.sync(&Sync { header, duration_ns, syscall, ret, backend_type, file_mode, path }, Role::ClientBackend);
}

/// Classes of texts as long as the server shows them by default, and some of the longest there are.
fn learn(aggregate: &mut Aggregate, classes: u64) {
    for class in 0..classes {
        let words = if class % 16 == 0 { TEXT_LEN / 16 } else { 60 };
        let list: Vec<String> = (0..words).map(|word| format!("col_{word:05}_{class}")).collect();
        let text = format!("SELECT {} FROM t", list.join(", "));
        aggregate.text(class + 1, true, text.as_bytes(), false, true);
    }
}

#[test]
fn more_than_is_kept_apart() {
    let before = own_rss_bytes();
    let mut aggregate = Aggregate::new(15, "/data".into(), false);
    let (backends, classes) = (MAX_BACKENDS as u32 * 3 / 2, MAX_CLASSES as u64 * 3 / 2);
    learn(&mut aggregate, classes);
    println!("texts: {} MiB", (own_rss_bytes() - before) >> 20);
    for pid in 1..=backends {
        aggregate.appear(pid, None);
        let name = |what: &str| Some(format!("{what}_{}_{}", pid % 50, "x".repeat(50)));
        let identity = Identity { database: name("database"), user: name("user"), ..Identity::of(Role::ClientBackend) };
        aggregate.identify(pid, Identity { application_name: name("application"), ..identity });
        aggregate.ready(pid, Some(3_000 * MICROSECOND), 3_000 * MICROSECOND, &ledger(pid));
        work(&mut aggregate, pid, 1 + u64::from(pid) % classes);
        sync(&mut aggregate, pid, pid);
        sync(&mut aggregate, pid, pid + 1);
        if pid % 2 == 0 {
            aggregate.exit(&exit(pid));
        }
    }
    let kept = own_rss_bytes() - before;
    let mut report = Report::default();
    let account = aggregate.cut(0);
    account.fill(aggregate.names(), &mut report);
    let with_report = own_rss_bytes() - before;
    println!("aggregates: {} MiB, with their report: {} MiB", kept >> 20, with_report >> 20);
    let lost = &report.coverage.lost;
    assert!(lost["backends_folded"] > 0 && lost["classes_folded"] > 0 && lost["files_folded"] > 0, "{lost:?}");
    assert!(report.backends.len() >= MAX_BACKENDS && report.queries.len() >= MAX_CLASSES);
    assert_eq!(report.statements.count, u64::from(backends) * 10);
    let kept_apart: u64 = report.backends.iter().map(|backend| backend.statements).sum();
    assert_eq!(kept_apart, report.statements.count, "what is folded is not lost");
    assert!(kept < BOUND, "{} MiB", kept >> 20);
    assert!(with_report < BOUND, "{} MiB with the report", with_report >> 20);
}
