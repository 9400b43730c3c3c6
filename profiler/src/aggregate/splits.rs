//! Any split of a run into accounts, each kept in a file and read again, merges to the report of the run in one.

mod server;

use proptest::prelude::*;

use super::*;
use crate::{
    report::model::{self, Report},
    time::{HINDSIGHT, Merge, Window},
};
use server::{MS, PIDS, SECOND, Server, Step, What, step, text};

/// The report of the steps, cut before those of `cuts` that are at a full second.
fn run(steps: &[Step], cuts: &[bool]) -> Report {
    let mut server = Server::start();
    for (step, cut) in steps.iter().zip(cuts) {
        server.now += step.after * MS;
        if step.full_second {
            server.now = server.now.next_multiple_of(SECOND);
            if *cut {
                server.cut();
            }
        }
        server.act(step);
    }
    server.now += MS;
    server.cut();
    let mut parts = std::mem::take(&mut server.parts).into_iter();
    let mut whole = parts.next().expect("at least one account");
    parts.for_each(|part| whole.merge(part));
    let names = server.aggregate.names();
    let mut report = Report::default();
    whole.fill(names, &mut report);
    report.storage.aio = Some(model::Aio { waits: whole.aio_waits(names), ..model::Aio::default() });
    let began = |_: &model::Checkpoint| 0;
    whole.fill_checkpoints(names, &mut report.storage.wal, began);
    report
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_split_merges_to_the_whole(
        steps in prop::collection::vec(step(), 1..120),
        cuts in prop::collection::vec(any::<bool>(), 120),
    ) {
        prop_assert_eq!(differences(&run(&steps, &cuts), &run(&steps, &[false; 120])), "");
    }
}

/// Lines of the JSON that differ, with those around.
fn differences(merged: &Report, whole: &Report) -> String {
    let text = |report: &Report| serde_json::to_string_pretty(report).expect("a report as JSON");
    let (merged, whole) = (text(merged), text(whole));
    let (merged, whole): (Vec<&str>, Vec<&str>) = (merged.lines().collect(), whole.lines().collect());
    if merged == whole {
        return String::new();
    }
    let at = merged.iter().zip(&whole).position(|(a, b)| a != b).unwrap_or(merged.len().min(whole.len()));
    let around = |lines: &[&str]| lines[at.saturating_sub(12)..lines.len().min(at + 3)].join("\n");
    format!("merged:\n{}\nwhole:\n{}", around(&merged), around(&whole))
}

/// A day of accounts of a second each, as an agent would keep them: of a busy server whose clients connect anew all the time, and
/// whose statements are never the same for long.
#[test]
fn a_day_stays_within_its_bounds() {
    /// What the accounts of hindsight may take in a file, which is about what they take in memory.
    const MOST_BYTES: usize = 8 << 20;
    let mut server = Server::start();
    let mut window = Window::new(&HINDSIGHT);
    let mut day: Option<Account> = None;
    for second in 0..86_400_u64 {
        server.now = (1_000 + second) * SECOND;
        let pid = PIDS.start + 1 + (second % 5) as u32;
        server.exit(pid);
        let class = 1 + second / 10;
        server.aggregate.text(class, true, text(class).as_bytes(), false, true);
        let batch = What::Batch { class, len: 8 };
        server.act(&Step { after: 0, full_second: false, pid, what: batch });
        let account = server.aggregate.cut(server.now);
        window.push(account.clone());
        match &mut day {
            Some(day) => day.merge(account),
            None => day = Some(account),
        }
    }
    let bytes = window.iter().map(|account| postcard::to_stdvec(account).expect("an account in a file").len());
    let bytes: usize = bytes.sum();
    assert!(window.len() <= HINDSIGHT.iter().map(|level| level.keep + level.join).sum(), "{}", window.len());
    assert!(bytes < MOST_BYTES, "{bytes}");
    let day = day.expect("a day");
    assert!(day.processes.len() <= MAX_BACKENDS && day.queries.iter().count() <= MAX_CLASSES + 1);
    let mut report = Report::default();
    day.fill(server.aggregate.names(), &mut report);
    assert_eq!(report.statements.count, 86_400 * 8, "what found no room of its own is counted all the same");
    assert_eq!(report.coverage.lost["backends_folded"], 86_400 + 6 - MAX_BACKENDS as u64);
}
