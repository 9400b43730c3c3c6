//! Did a checkpoint hurt, and whom: statements that ran during one, against all others, and the files it waited for.
//!
//! When the phases of a checkpoint begin is known exactly and before the statements of that time are taken out of the
//! ring buffer, so that each statement can be sorted as it comes, and nothing need be kept for later. A statement belongs
//! to where its **middle** lies: one that a checkpoint holds up until just after its end belongs to the checkpoint.

use std::collections::{BTreeMap, VecDeque};

use super::{Aggregate, Class, queries::Query};
use crate::{
    hist::Histogram,
    ledger::{Ledger, Short},
    report::model::{self, Checkpoint, CheckpointFile, Victim},
};
use pgstrobe_common::ledger::Ledger as KernelLedger;

/// Checkpoints kept apart, the last ones.
pub const MAX_CHECKPOINTS: usize = 500;
/// Classes of which statements during checkpoints are kept apart: those that ran in one first.
const MAX_CLASSES: usize = 500;
/// Syncs that wait for the end of their checkpoint; the fastest go first.
const MAX_SYNCS: usize = 1_024;
/// Files named, the slowest.
const FILES: usize = 5;

/// When a checkpoint's phases began, by the clock of the records; `u64::MAX` for what has not come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    pub start_ns: u64,
    pub write_ns: u64,
    pub sync_ns: u64,
    pub sync_end_ns: u64,
    pub end_ns: u64,
}

struct Span {
    phases: Phases,
    latency: Histogram,
    files: Vec<(u64, String)>,
}

#[derive(Default)]
pub(super) struct Checkpoints {
    spans: VecDeque<Span>,
    /// All statements during checkpoints, and those of them in the phases.
    latency: Histogram,
    ledger: Ledger,
    write: Histogram,
    sync: Histogram,
    finish: Histogram,
    /// Classes with statements in `during`.
    classes: usize,
    /// Syncs of the checkpointer whose checkpoint has not ended: end, duration, file.
    syncs: Vec<(u64, u64, String)>,
}

impl Checkpoints {
    /// The checkpoint this moment lies in.
    #[inline]
    fn at(&mut self, ns: u64) -> Option<&mut Span> {
        // Mostly the last one or behind it: statements come in the order of time, but for those of open batches.
        let last = self.spans.back()?.phases;
        let at = match ns >= last.start_ns {
            true => self.spans.len() - 1,
            false => self.spans.partition_point(|span| span.phases.start_ns <= ns).checked_sub(1)?,
        };
        self.spans.get_mut(at).filter(|span| ns < span.phases.end_ns)
    }

    /// A statement ended; whether it belongs to a checkpoint, and then also to its class's account.
    #[inline]
    pub fn statement(&mut self, start_ns: u64, wall_ns: u64, short: &Short, slept: Option<&KernelLedger>) -> bool {
        let middle = start_ns + wall_ns / 2;
        let Some(span) = self.at(middle) else { return false };
        span.latency.record(wall_ns);
        let phases = span.phases;
        self.latency.record(wall_ns);
        match slept {
            Some(ledger) => self.ledger.add(wall_ns, ledger),
            None => self.ledger.add_short(short),
        }
        if (phases.write_ns..phases.sync_ns).contains(&middle) {
            self.write.record(wall_ns);
        } else if (phases.sync_ns..phases.sync_end_ns).contains(&middle) {
            self.sync.record(wall_ns);
        } else if middle >= phases.sync_end_ns {
            self.finish.record(wall_ns);
        }
        true
    }

    /// As [`Self::statement`] said of a statement of this class.
    pub fn of_class(&mut self, query: &mut Query, wall_ns: u64) {
        if query.during.is_none() && self.classes < MAX_CLASSES {
            self.classes += 1;
            query.during = Some(Box::default());
        }
        if let Some(during) = &mut query.during {
            during.record(wall_ns);
        }
    }

    /// The checkpointer synced a file.
    pub fn synced(&mut self, end_ns: u64, duration_ns: u64, file: &str) {
        if self.syncs.len() >= MAX_SYNCS {
            self.syncs.sort_unstable_by_key(|(_, ns, _)| std::cmp::Reverse(*ns));
            self.syncs.truncate(MAX_SYNCS / 2);
        }
        self.syncs.push((end_ns, duration_ns, file.into()));
    }

    /// Forgets what was reported; a checkpoint under way goes on.
    pub fn next_interval(&mut self) {
        let under_way = self.spans.pop_back().filter(|span| span.phases.end_ns == u64::MAX);
        let syncs = std::mem::take(&mut self.syncs);
        *self = Self { syncs, ..Self::default() };
        self.spans.extend(under_way.map(|span| Span { latency: Histogram::new(), ..span }));
    }
}

impl Aggregate {
    /// What is known of a checkpoint now. To be said before the records of that time are.
    pub fn checkpoint(&mut self, phases: Phases) {
        let all = &mut self.checkpoints;
        // The clocks are compared anew each time: the same start differs by microseconds.
        let same = |span: &&mut Span| span.phases.start_ns.abs_diff(phases.start_ns) < 1_000_000;
        match all.spans.iter_mut().rev().find(same) {
            Some(span) => span.phases = Phases { start_ns: span.phases.start_ns, ..phases },
            None => {
                if all.spans.len() >= MAX_CHECKPOINTS {
                    all.spans.pop_front();
                    *self.folded.entry("checkpoints_folded").or_default() += 1;
                }
                // A look may have seen the next one before the record of this one came.
                let at = all.spans.partition_point(|span| span.phases.start_ns < phases.start_ns);
                if let Some(before) = at.checked_sub(1).and_then(|before| all.spans.get_mut(before)) {
                    before.phases.end_ns = before.phases.end_ns.min(phases.start_ns);
                }
                let next = all.spans.get(at).map_or(u64::MAX, |next| next.phases.start_ns);
                let phases = Phases { end_ns: phases.end_ns.min(next), ..phases };
                all.spans.insert(at, Span { phases, latency: Histogram::new(), files: Vec::new() });
            }
        }
    }

    /// Gives the syncs of the checkpointer to their checkpoints.
    pub fn settle_checkpoint_syncs(&mut self) {
        let all = &mut self.checkpoints;
        for (end_ns, ns, file) in std::mem::take(&mut all.syncs) {
            let after = all.spans.partition_point(|span| span.phases.start_ns <= end_ns);
            let Some(span) = after.checked_sub(1).and_then(|at| all.spans.get_mut(at)) else { continue };
            let Phases { sync_ns, sync_end_ns, .. } = span.phases;
            if sync_ns == u64::MAX || sync_end_ns == u64::MAX {
                all.syncs.push((end_ns, ns, file));
            } else if (sync_ns..=sync_end_ns).contains(&end_ns) {
                let at = span.files.partition_point(|(other, _)| *other >= ns);
                if at < FILES {
                    span.files.insert(at, (ns, file));
                    span.files.truncate(FILES);
                }
            }
        }
    }

    /// Adds to each checkpoint of the report what its statements and files were, by its beginning.
    pub fn fill_checkpoints(&self, wal: &mut model::Wal, started: impl Fn(&Checkpoint) -> u64) {
        for checkpoint in &mut wal.checkpoints {
            let start = started(checkpoint);
            let spans = self.checkpoints.spans.iter();
            let nearest = spans.min_by_key(|span| span.phases.start_ns.abs_diff(start));
            let Some(span) = nearest.filter(|span| span.phases.start_ns.abs_diff(start) < 1_000_000) else { continue };
            checkpoint.statements = span.latency.summary();
            let files = span.files.iter().map(|(ns, file)| CheckpointFile { file: file.clone(), sync_ns: *ns });
            checkpoint.slowest_files = files.collect();
        }
        let during = &self.checkpoints;
        if during.latency.is_empty() {
            return;
        }
        let mut total = Class::default();
        self.queries.iter().for_each(|(_, query)| total.merge(&query.class));
        wal.overlay = Some(model::Overlay {
            during: during.latency.summary(),
            write: during.write.summary(),
            sync: during.sync.summary(),
            finish: during.finish.summary(),
            outside: without(&total.latency, &during.latency),
            during_ledger: during.ledger.model(self.major),
            outside_ledger: rest(&total.ledger.model(self.major), &during.ledger.model(self.major)),
            victims: self.victims(),
        });
    }

    /// Classes by how much longer their statements took during checkpoints than outside, in all.
    fn victims(&self) -> Vec<Victim> {
        let mut victims: Vec<Victim> = Vec::new();
        for ((text, _), query) in self.queries.iter() {
            let Some(during) = &query.during else { continue };
            let outside = without(&query.class.latency, during);
            if outside.count == 0 {
                continue;
            }
            let excess = (during.mean() - outside.mean) * during.count() as f64;
            if excess <= 0.0 {
                continue;
            }
            let text = self.texts.get(text);
            victims.push(Victim {
                query_id: text.query_id.clone(),
                query: text.text.clone(),
                excess_ns: excess as u64,
                during: during.summary(),
                outside,
            });
        }
        victims.sort_by_key(|victim| std::cmp::Reverse(victim.excess_ns));
        victims.truncate(10);
        victims
    }
}

/// What was recorded and is not in `part`; its least and its largest are those of their buckets.
fn without(whole: &Histogram, part: &Histogram) -> model::Hist {
    let mut rest = whole.clone();
    rest.replace(part, &Histogram::new());
    let buckets = rest.buckets();
    let ends = buckets.fold((u64::MAX, 0), |(least, most), (low, high, _)| (least.min(low), most.max(high)));
    let summary = rest.summary();
    model::Hist { min: summary.min.max(ends.0.min(summary.max)), max: summary.max.min(ends.1), ..summary }
}

/// A ledger without a part of it.
fn rest(whole: &model::Ledger, part: &model::Ledger) -> model::Ledger {
    let key = |part: &model::LedgerPart| {
        (part.state.clone(), part.wait_event_type.clone(), part.wait_event.clone(), part.cause.clone())
    };
    let gone: BTreeMap<_, _> = part.parts.iter().map(|part| (key(part), (part.ns, part.count))).collect();
    let mut parts = whole.parts.clone();
    for part in &mut parts {
        let (ns, count) = gone.get(&key(part)).copied().unwrap_or_default();
        part.ns = part.ns.saturating_sub(ns);
        part.count = part.count.saturating_sub(count);
    }
    parts.retain(|part| part.ns > 0 || part.count > 0);
    parts.sort_by_key(|part| std::cmp::Reverse(part.ns));
    model::Ledger { wall_ns: parts.iter().map(|part| part.ns).sum(), parts }
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::record::Finished;

    use super::*;

    const MS: u64 = 1_000_000;

    fn phases(start: u64, sync: u64, end: u64) -> Phases {
        Phases {
            start_ns: start * MS,
            write_ns: (start + 1) * MS,
            sync_ns: sync.saturating_mul(MS),
            sync_end_ns: end.saturating_mul(MS),
            end_ns: end.saturating_mul(MS),
        }
    }

    fn statement(aggregate: &mut Aggregate, start: u64, end: u64) {
        let finished = Finished { start_ns: start * MS, end_ns: end * MS, cpu_ns: MS, ..Finished::default() };
        aggregate.statement(7, &finished, None);
    }

    fn began(checkpoint: &Checkpoint) -> u64 {
        checkpoint.began_ns as u64
    }

    fn filled(aggregate: &Aggregate, starts: &[i64]) -> model::Wal {
        let checkpoint = |start: &i64| Checkpoint { began_ns: start * MS as i64, ..Checkpoint::default() };
        let mut wal = model::Wal { checkpoints: starts.iter().map(checkpoint).collect(), ..model::Wal::default() };
        aggregate.fill_checkpoints(&mut wal, began);
        wal
    }

    #[test]
    fn a_statement_belongs_to_where_its_middle_lies() {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        statement(&mut aggregate, 10, 20);
        aggregate.checkpoint(phases(100, u64::MAX, u64::MAX));
        statement(&mut aggregate, 96, 98);
        statement(&mut aggregate, 120, 130);
        aggregate.checkpoint(phases(100, 200, u64::MAX));
        statement(&mut aggregate, 180, 400);
        aggregate.checkpoint(phases(100, 200, 300));
        // Held up until just after the end, and one that only began in it.
        statement(&mut aggregate, 210, 310);
        statement(&mut aggregate, 290, 700);
        aggregate.checkpoint(phases(800, u64::MAX, u64::MAX));
        statement(&mut aggregate, 810, 812);
        // Of a batch that was open for long.
        statement(&mut aggregate, 110, 112);
        let wal = filled(&aggregate, &[100, 800]);
        assert_eq!([0, 1].map(|at| wal.checkpoints[at].statements.count), [4, 1]);
        let overlay = wal.overlay.unwrap();
        assert_eq!((overlay.during.count, overlay.outside.count), (5, 3));
        assert_eq!((overlay.write.count, overlay.sync.count), (3, 2));
        assert!(overlay.outside.max.abs_diff(410 * MS) < 4 * MS, "{}", overlay.outside.max);
        assert!((overlay.outside.mean - 422.0 / 3.0 * MS as f64).abs() < 1.0, "{}", overlay.outside.mean);
        assert_eq!(overlay.victims.len(), 0, "they are shorter during checkpoints");
    }

    #[test]
    fn the_slowest_files_of_the_sync_phase() {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        for n in 0..3_000 {
            aggregate.checkpoints.synced((210 + n % 80) * MS, n * 1_000, &format!("base/5/{n}"));
        }
        aggregate.checkpoints.synced(150 * MS, 90 * MS, "pg_wal/000000010000000000000001");
        aggregate.settle_checkpoint_syncs();
        aggregate.checkpoint(phases(100, 200, u64::MAX));
        aggregate.settle_checkpoint_syncs();
        assert!(filled(&aggregate, &[100]).checkpoints[0].slowest_files.is_empty(), "not ended");
        for n in 0..3_000 {
            aggregate.checkpoints.synced((210 + n % 80) * MS, n * 1_000, &format!("base/5/{n}"));
        }
        aggregate.checkpoint(phases(100, 200, 300));
        aggregate.settle_checkpoint_syncs();
        let files = &filled(&aggregate, &[100]).checkpoints[0].slowest_files;
        assert_eq!(files.len(), FILES);
        assert_eq!((files[0].file.as_str(), files[0].sync_ns), ("base/5/2999", 2_999_000));
    }

    #[test]
    fn one_that_is_heard_of_after_the_next_keeps_its_place() {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        aggregate.checkpoints.synced(220 * MS, MS, "base/5/1");
        aggregate.checkpoint(phases(320, u64::MAX, u64::MAX));
        aggregate.checkpoint(phases(100, 200, 300));
        statement(&mut aggregate, 330, 332);
        aggregate.settle_checkpoint_syncs();
        let wal = filled(&aggregate, &[100, 320]);
        assert_eq!(wal.checkpoints[0].slowest_files.len(), 1);
        assert_eq!([0, 1].map(|at| wal.checkpoints[at].statements.count), [0, 1]);
    }

    #[test]
    fn a_bounded_number_is_kept_and_the_rest_counted() {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        for n in 0..MAX_CHECKPOINTS as u64 + 10 {
            aggregate.checkpoint(phases(100 * n, 100 * n + 20, 100 * n + 40));
            statement(&mut aggregate, 100 * n + 10, 100 * n + 12);
        }
        assert_eq!(aggregate.folded["checkpoints_folded"], 10);
        assert_eq!(filled(&aggregate, &[]).overlay.unwrap().during.count, MAX_CHECKPOINTS as u64 + 10);
    }
}
