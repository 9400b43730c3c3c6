//! What the text must hold for whoever reads it in a hurry.

use super::*;
use crate::report::fixture;
use crate::report::model::Unfinished;

fn text(report: &Report, width: usize) -> String {
    render(report, &TextOptions { top: 10, width, colour: false })
}

/// Prints the text: `PGSTROBE_SHOW=80 cargo test … show -- --nocapture`.
#[test]
fn show() {
    if let Some(width) = std::env::var("PGSTROBE_SHOW").ok().and_then(|w| w.parse().ok()) {
        println!("{}\n=====\n{}", text(&fixture::busy(), width), text(&fixture::idle(), width));
    }
}

#[test]
fn every_width_holds() {
    for report in [fixture::busy(), fixture::idle(), Report::default()] {
        for width in (0..40).chain([60, 80, 100, 120, 200, 10_000]) {
            for line in text(&report, width).lines() {
                assert!(crate::words::width(line) <= width.max(20), "{width}: {line:?}");
            }
        }
    }
}

/// Twenty columns are the least there is: what is cut off is the end of lines, not the numbers at their beginning.
#[test]
fn twenty_columns_still_answer() {
    for (width, top) in [(20, 10), (0, 0), (20, usize::MAX)] {
        let text = render(&fixture::busy(), &TextOptions { top, width, colour: true });
        for needed in [
            "PostgreSQL 18.1",
            "p50 913 µs",
            "p90 3.26 ms",
            " 35.2 %  Lock:relat",
            " 65.9 %  UPDATE",
            " 2377  > 10.0 s",
            "warning",
            "lost: 0 (",
            "cost: 0.5 % of one",
            " 512    ",
            " client backend  ",
            "LOST AND NOT SEEN",
        ] {
            assert!(text.contains(needed), "{needed} at {width} columns in\n{text}");
        }
    }
    for report in [fixture::idle(), Report::default()] {
        assert!(text(&report, 20).contains("lost: 0"));
    }
}

#[test]
fn the_first_screen_is_the_answer() {
    let text = text(&fixture::busy(), 80);
    let screen: Vec<&str> = text.lines().collect();
    let cost = screen.iter().position(|line| line.starts_with("cost: ")).unwrap();
    assert!(cost < 40, "{cost}");
    // A small terminal shows where the time went and what to do about it.
    let advice = screen.iter().position(|line| line.starts_with("  => ")).unwrap();
    assert!(advice < 20, "{advice}");
    let screen = screen[..=cost].join("\n");
    for needed in [
        "PostgreSQL 18.1, port 5432",
        "22,527 in all",
        "p99.9",
        "29.2 %  15.1 s    1.51    672 µs  2.01 ms  IO:WalSync           fsync",
        "35.2 %  18.2 s    1.82         -        -  Lock:relation        semaphore",
        "UPDATE pgbench_accounts",
        "2377",
        "warning (high confidence): 35.2 % of statement time is waiting for pid 2390",
        "pg_terminate_backend(2390)",
        "lost: 0 (backends_map_full 0",
        "of one core in eBPF (280,000 hits",
    ] {
        assert!(screen.contains(needed), "{needed} in\n{screen}");
    }
}

/// What stands behind the first screen, section by section.
#[test]
fn every_section_is_there() {
    let text = text(&fixture::busy(), 80).replace('\n', " ");
    let text = text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    for needed in [
        "FINDINGS warning (idle_in_transaction_lock, confidence high, explains 18.2 s)",
        "WHAT MAKES THE SLOWEST 1.0 % DIFFERENT",
        "80.4 % of the difference is Lock:transactionid (semaphore)",
        "80.4 % 8.93 ms 167 µs 53.4 Lock:transactionid semaphore",
        "SLOWEST STATEMENTS 1 413 ms begun at 4.12 s pid 2202 app in shop",
        "in Lock:transactionid 38.0 ms (97.4 %), on CPU 1.00 ms (2.6 %) waited for pid 2202",
        "WHO WAS WAITED FOR 10.0 s 1 wait, longest 10.0 s, 1 still waiting",
        "for pid 2390 (client backend, application billing), idle in transaction for 10.0 s",
        "and pid 2377 (ALTER TABLE orders ADD COLUMN note text) waits for Lock:relation of pid 2390",
        "workers: 48 (2.00 per call), 4.03 s in addition to 2.84 s of their leaders: on CPU 52.9 %",
        "284 samples on CPU: IO:BufFileWrite 21.5 %",
        "client backend in statements 33.5 s 3.35 IO:WalSync",
        "checkpointer outside 10.0 s 1.00 Timeout:CheckpointWriteDelay",
        "2390 outside 10.0 s 1.00 idle in transaction 100.0 %",
        "IDLE IN TRANSACTION client backend: 10.0 s in 1 pause",
        "of it on CPU 60.0 %, Client:ClientRead 30.0 %, waiting for a CPU 10.0 %",
        "slowest: pid 2390, 3.40 ms",
        "SYNCS BY ROLE",
        "READS AND WRITES OF FILES",
        "relation client backend 242 MiB 172 MiB 2.90 s 96.0 KiB",
        "RELATIONS READ AND WRITTEN",
        "public.orders 1.30 GiB 242 MiB 172 MiB 2.90 s 17.3 MiB",
        "STATEMENTS BY WHAT THEY READ AND WROTE",
        "242 MiB 172 MiB 32.0 MiB SELECT o.id",
        "WAL WRITTEN: 52.0 MiB, 5.20 MiB per second",
        "3,900 full-page images (at most 58.6 % of it)",
        "21,000 writing transactions: 1.86 per sync",
        "1.20 s requested 2.30 s 610 ms 2.93 s",
        "slowest syncs: base/16384/16397.1 427 ms (begun at 1.20 s)",
        "STATEMENTS DURING CHECKPOINTS AND OUTSIDE",
    ] {
        assert!(text.contains(needed), "{needed} in {text}");
    }
    let idle = render(&fixture::idle(), &TextOptions::default());
    for heading in [
        "SLOWEST",
        "WAITED FOR",
        "IDLE IN",
        "FINDINGS",
        "CONNECTIONS",
        "SYNCS",
        "FILES",
        "RELATIONS",
        "WAL",
        "CHECKPOINTS",
    ] {
        assert!(!idle.contains(heading), "{heading} in {idle}");
    }
}

/// Nothing ended: the time is that of the statements still open.
#[test]
fn open_statements_have_an_account_too() {
    let mut report = fixture::busy();
    report.statements = Default::default();
    report.findings = crate::findings::evaluate(&report);
    let text = text(&report, 80);
    assert!(text.contains(" 100.0 %   18.2 s    1.82  Lock:relation        semaphore"), "{text}");
    assert!(text.contains("100.0 % of statement time is waiting for pid 2390"), "{text}");
}

#[test]
fn shares_of_the_ledger_add_up() {
    let text = text(&fixture::busy(), 100);
    let table = text.split("TIME WENT").nth(1).unwrap().split("\n\n").next().unwrap();
    let tenths: u64 =
        table.lines().filter_map(|line| line.trim().split(" %").next()?.replace('.', "").parse::<u64>().ok()).sum();
    assert_eq!(tenths, 1000, "{table}");
}

#[test]
fn what_was_lost_stands_first() {
    let mut report = fixture::busy();
    report.coverage.lost.insert("read_failed".into(), 1_234);
    let text = text(&report, 80);
    assert!(text.contains("\nlost: 1,234 (read_failed 1,234, "), "{text}");
}

#[test]
fn an_idle_server_reads_sensibly() {
    let text = text(&fixture::idle(), 80);
    assert!(text.contains("no statement finished"), "{text}");
    assert!(text.contains("lost: 0 ("), "{text}");
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    let mut stuck = fixture::idle();
    stuck.unfinished = vec![Unfinished { pid: 7, elapsed_ns: 9_000_000_000, ..Unfinished::default() }];
    let text = render(&stuck, &TextOptions::default());
    assert!(text.contains("STILL RUNNING") && text.contains("(text not known)"), "{text}");
}

#[test]
fn names_cannot_reach_the_terminal() {
    let mut report = fixture::busy();
    let evil = "x\x1b]0;pwned\x07\u{9b}2J\r\n\u{202e}y";
    report.queries[0].query = evil.into();
    report.queries[0].user = Some(evil.into());
    report.backends[0].application_name = Some(evil.into());
    report.clusters[0].data_directory = evil.into();
    report.fsync.by[0].file = evil.into();
    report.unfinished[0].query = Some(evil.into());
    report.coverage.notes.push(evil.into());
    report.findings[0].title = evil.into();
    report.blocking[0].query = evil.into();
    report.blocking[1].blocker.query = Some(evil.into());
    report.blocking[1].chain = vec![evil.into()];
    report.slowest[0].query = evil.into();
    report.storage.wal.overlay.as_mut().unwrap().victims[0].query = evil.into();
    report.storage.wal.checkpoints[0].slowest_files[0].file = evil.into();
    report.host.cpu.others[0].name = evil.into();
    for width in [20, 80, 300] {
        let text = text(&report, width);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'));
    }
    let coloured = render(&report, &TextOptions { colour: true, ..TextOptions::default() });
    assert!(coloured.contains("\x1b[1m") && !coloured.contains("\x1b]"));
}

#[test]
fn probes_say_what_is_wrong() {
    let text = text(&fixture::busy(), 80);
    for needed in ["never fired", "not attached", "writeback: this kernel has no tracepoint writeback_start"] {
        assert!(text.contains(needed), "{needed}");
    }
}

#[test]
fn histograms_are_pictures() {
    let text = text(&fixture::busy(), 80);
    assert!(text.contains("usecs : count"), "{text}");
    assert!(text.lines().any(|line| line.contains(" -> ") && line.ends_with('|') && line.contains("|**")), "{text}");
}

/// The first screen ranks the servers, and each report follows as it is by itself.
#[test]
fn several_servers_are_ranked_and_then_each_told() {
    use crate::report::document::Reports;
    let mut quiet = fixture::idle();
    quiet.clusters[0].port = Some(5433);
    quiet.clusters[0].container = Some("ab12".repeat(16));
    let reports = vec![quiet.clone(), fixture::busy()];
    let all = Document::All(Box::new(Reports::new(String::new(), 10_000_000_000, reports, vec!["a note".into()])));
    let options = |width| TextOptions { top: 10, width, colour: false };
    let text = document(&all, &options(200));
    assert!(text.starts_with("2 PostgreSQL servers in 10.0 s"), "{text}");
    assert!(text.contains(" ab12ab12ab12 ") && text.contains("\n note: a note\n"), "{text}");
    let at = |report: &Report| text.find(&render(report, &options(200))).expect("the whole report");
    assert!(at(&fixture::busy()) < at(&quiet));
    assert_eq!(document(&Document::One(Box::new(quiet.clone())), &options(80)), render(&quiet, &options(80)));
    for width in [20, 80, 120] {
        for line in document(&all, &options(width)).lines() {
            assert!(crate::words::width(line) <= width, "{width}: {line:?}");
        }
    }
    assert!(document(&Document::All(Box::default()), &options(80)).starts_with("0 PostgreSQL servers"));
}
