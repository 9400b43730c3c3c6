//! Statements that are slower while a checkpoint runs.

use std::collections::BTreeMap;

use super::rule::{Confidence, Found, Rule, nothing};
use super::time::{duration, is_notable, number, percent, severity_of, share, short};
use crate::report::model::{Ledger, Overlay, Report};
use crate::report::phrases::parts::part_name;
use crate::vocabulary::State;

pub const RULE: Rule = Rule { id: "checkpoint_hurts", about: nothing, symptom: false, find };

/// Statements outside, and during checkpoints, below which a comparison means nothing: where each waits long there are few.
const ENOUGH: u64 = 100;
const FEW: u64 = 20;
/// Of fewer, as where a checkpoint stops all who commit, this many say enough if each takes this many times as long.
const LEAST: u64 = 4;
const STOPPED: f64 = 20.0;
/// During checkpoints a statement takes this many times as long on average.
const SLOWER: f64 = 1.5;
/// A part of the account is the checkpoint's doing when so much of it is what came on top.
const MOSTLY: f64 = 0.75;
/// Victims named.
const NAMED: usize = 3;

fn find(report: &Report) -> Option<Found> {
    let wal = &report.storage.wal;
    let overlay = wal.overlay.as_ref()?;
    let (during, outside) = (&overlay.during, &overlay.outside);
    let slower = if during.count < FEW { STOPPED } else { SLOWER };
    if during.count < LEAST || outside.count < ENOUGH || during.mean < outside.mean * slower {
        return None;
    }
    let excess = ((during.mean - outside.mean) * during.count as f64) as u64;
    if !is_notable(report, excess) {
        return None;
    }
    let mut evidence = vec![format!(
        "{} statements during {} checkpoint(s): mean {}, p99 {}; {} outside: mean {}, p99 {}",
        number(during.count),
        number(wal.checkpoints.len() as u64),
        duration(during.mean as u64),
        duration(during.p99),
        number(outside.count),
        duration(outside.mean as u64),
        duration(outside.p99)
    )];
    for (name, phase) in [
        ("it writes buffers", &overlay.write),
        ("it syncs files", &overlay.sync),
        ("it flushes its own record and clears up", &overlay.finish),
    ] {
        if phase.count > 0 {
            evidence.push(format!(
                "while {name}: {} statements, mean {}, p99 {}",
                number(phase.count),
                duration(phase.mean as u64),
                duration(phase.p99)
            ));
        }
    }
    let reason = longer(overlay);
    if let Some(Longer { name, more_ns, of, .. }) = &reason {
        let more = duration(*more_ns);
        evidence.push(format!("{} of what they take longer is {name}: {more} more a statement", percent(*of)));
    }
    for victim in overlay.victims.iter().take(NAMED) {
        evidence.push(format!(
            "{} longer in all, mean {} for {}: {}",
            duration(victim.excess_ns),
            duration(victim.during.mean as u64),
            duration(victim.outside.mean as u64),
            short(&victim.query)
        ));
    }
    let files = wal.checkpoints.iter().flat_map(|one| &one.slowest_files).max_by_key(|file| file.sync_ns);
    if let Some(file) = files {
        evidence.push(format!("slowest sync of a checkpoint: {} {}", file.file, duration(file.sync_ns)));
    }
    let part = share(report, excess);
    let times = during.mean / outside.mean.max(1.0);
    Some(Found {
        severity: severity_of(part),
        // One checkpoint may have met something else; that load and checkpoint go together can be the load's doing.
        confidence: if wal.checkpoints.len() >= 3 { Confidence::Medium } else { Confidence::Low },
        title: format!(
            "statements take {times:.1} times as long while a checkpoint runs ({} of their time)",
            percent(part)
        ),
        evidence,
        advice: advice(report, overlay),
        // What grows is the checkpoint's doing, where nearly all of it lies in checkpoints.
        explained_ns: excess.max(reason.map_or(0, |reason| reason.whole_ns)),
    })
}

/// What statements do more of during checkpoints.
struct Longer {
    /// What grows most: its name, by how much for a statement, and its share of all that grows.
    name: String,
    more_ns: u64,
    of: f64,
    /// Time of the parts that are longer for the checkpoint's sake, that outside included.
    whole_ns: u64,
}

fn longer(overlay: &Overlay) -> Option<Longer> {
    let (during, outside) = (by_name(&overlay.during_ledger), by_name(&overlay.outside_ledger));
    let (mut all, mut most, mut whole) = (0.0, (0.0, ""), 0.0);
    for (name, ns) in &during {
        let usual = outside.get(name).copied().unwrap_or(0.0);
        let excess = ns - usual * overlay.during.count as f64 / overlay.outside.count.max(1) as f64;
        if excess <= 0.0 {
            continue;
        }
        all += excess;
        if excess > most.0 {
            most = (excess, name);
        }
        if excess >= MOSTLY * (ns + usual) {
            whole += ns + usual;
        }
    }
    (most.0 > 0.0).then(|| Longer {
        name: most.1.into(),
        more_ns: (most.0 / overlay.during.count.max(1) as f64) as u64,
        of: most.0 / all,
        whole_ns: whole as u64,
    })
}

/// Time by what it is spent in.
fn by_name(ledger: &Ledger) -> BTreeMap<String, f64> {
    let mut by_name = BTreeMap::new();
    for part in &ledger.parts {
        let name = match &part.cause {
            Some(cause) if part.state == State::Blocked && part.wait_event.is_none() => cause.replace('_', " "),
            _ => part_name(part),
        };
        *by_name.entry(name).or_default() += part.ns as f64;
    }
    by_name
}

fn advice(report: &Report, overlay: &Overlay) -> String {
    let target = report.storage.wal.settings.as_ref().map_or(0.9, |settings| settings.checkpoint_completion_target);
    if overlay.sync.count > 0 && overlay.sync.mean > overlay.write.mean * SLOWER {
        return "They are slowest while files are synced: too much is dirty in the page cache by then. Lower \
                checkpoint_flush_after (256kB) and vm.dirty_background_bytes, so that the kernel writes earlier; put \
                pg_wal on a disk of its own."
            .into();
    }
    let spread = if target < 0.9 {
        format!(
            "Raise checkpoint_completion_target ({target}) to 0.9, so that the same is written over a longer time. "
        )
    } else {
        String::new()
    };
    format!(
        "{spread}Fewer and longer checkpoints (max_wal_size, checkpoint_timeout) write less in all; pg_wal on a disk of its \
         own keeps commits from waiting behind data files; no CHECKPOINT by hand while statements matter."
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;
    use crate::report::fixture;
    use crate::report::model::{Checkpoint, CheckpointFile, Victim};

    fn report(during: f64, outside: f64) -> Report {
        let mut report = testing::report(&[("cpu", "", 300), ("blocked", "IO:WALSync", 600)]);
        let wal = &mut report.storage.wal;
        let ledger = |count: u64, mean: f64| {
            fixture::ledger(vec![
                fixture::part("cpu", "", None, count * 50_000, count),
                fixture::part("blocked", "IO:WALSync", Some("fsync"), ((mean - 50_000.0) * count as f64) as u64, count),
            ])
        };
        wal.checkpoints = vec![Checkpoint {
            slowest_files: vec![CheckpointFile { file: "base/5/16384".into(), sync_ns: 900_000_000 }],
            ..Checkpoint::default()
        }];
        wal.overlay = Some(Overlay {
            during: fixture::latency(400, during, 0.1),
            write: fixture::latency(300, during, 0.1),
            outside: fixture::latency(600, outside, 0.1),
            during_ledger: ledger(400, during),
            outside_ledger: ledger(600, outside),
            victims: vec![Victim { query: "UPDATE t SET a = $1".into(), excess_ns: 7, ..Victim::default() }],
            ..Overlay::default()
        });
        report
    }

    #[test]
    fn names_the_wait_that_grows_and_the_victims() {
        let found = find(&RULE, &report(1_500_000.0, 300_000.0)).unwrap();
        assert!(
            found.title.starts_with("statements take 5.0 times as long while a checkpoint runs"),
            "{}",
            found.title
        );
        let all = found.evidence.join("\n");
        for needed in
            ["100.0 % of what they take longer is IO:WALSync: 1.2", "UPDATE t SET a = $1", "base/5/16384 900 ms"]
        {
            assert!(all.contains(needed), "{needed} in {all}");
        }
        assert!((470_000_000..490_000_000).contains(&found.explained_ns), "{}", found.explained_ns);
    }

    #[test]
    fn few_that_stood_still_are_enough() {
        let few = |during: f64| {
            let mut report = report(during, 300_000.0);
            report.storage.wal.overlay.as_mut().unwrap().during = fixture::latency(5, during, 0.1);
            report
        };
        assert!(find(&RULE, &few(300_000_000.0)).is_some());
        assert_eq!(find(&RULE, &few(3_000_000.0)), None);
    }

    #[test]
    fn silent_on_little() {
        assert_eq!(find(&RULE, &report(400_000.0, 300_000.0)), None);
        assert_eq!(find(&RULE, &report(70_000.0, 20_000.0).clone()), None, "too little of all the time");
        let mut few = report(1_500_000.0, 300_000.0);
        few.storage.wal.overlay.as_mut().unwrap().outside.count = 20;
        assert_eq!(find(&RULE, &few), None);
    }
}
