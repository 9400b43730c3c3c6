//! Did a checkpoint hurt, and whom: statements that ran during one, against all others, and the files it waited for.
//!
//! When the phases of a checkpoint begin is known exactly and before the statements of that time are taken out of the
//! ring buffer, so that each statement can be sorted as it comes, and nothing need be kept for later. A statement belongs
//! to where its **middle** lies: one that a checkpoint holds up until just after its end belongs to the checkpoint.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    Aggregate,
    account::{Account, Names},
    queries::{Class, Query},
};
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

/// Starts that are so near are those of one checkpoint: the clocks are compared anew each time.
const SAME_NS: u64 = 1_000_000;

/// The checkpoints of a server, of which statements that end may have been a part.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Checkpoints {
    phases: VecDeque<Phases>,
    /// Syncs of the checkpointer whose checkpoint has not ended: end, duration, file.
    syncs: Vec<(u64, u64, String)>,
}

/// Statements and files of a checkpoint, in a stretch of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Span {
    start_ns: u64,
    latency: Histogram,
    files: Vec<(u64, String)>,
}

/// Statements during checkpoints, in a stretch of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Overlay {
    /// In the order of time.
    spans: Vec<Span>,
    /// All of them, and those in the phases.
    latency: Histogram,
    ledger: Ledger,
    write: Histogram,
    sync: Histogram,
    finish: Histogram,
    /// Classes with statements of their own.
    classes: usize,
}

impl Span {
    fn file(&mut self, ns: u64, file: String) {
        let at = self.files.partition_point(|(other, _)| *other >= ns);
        if at < FILES {
            self.files.insert(at, (ns, file));
            self.files.truncate(FILES);
        }
    }
}

impl Checkpoints {
    /// The checkpoint this moment lies in.
    #[inline]
    pub fn at(&self, ns: u64) -> Option<Phases> {
        // Mostly the last one or behind it: statements come in the order of time, but for those of open batches.
        let last = self.phases.back()?;
        let at = match ns >= last.start_ns {
            true => self.phases.len() - 1,
            false => self.phases.partition_point(|phases| phases.start_ns <= ns).checked_sub(1)?,
        };
        self.phases.get(at).filter(|phases| ns < phases.end_ns).copied()
    }

    /// The checkpointer synced a file.
    pub fn synced(&mut self, end_ns: u64, duration_ns: u64, file: &str) {
        if self.syncs.len() >= MAX_SYNCS {
            self.syncs.sort_unstable_by_key(|(_, ns, _)| std::cmp::Reverse(*ns));
            self.syncs.truncate(MAX_SYNCS / 2);
        }
        self.syncs.push((end_ns, duration_ns, file.into()));
    }
}

impl Overlay {
    /// The span of a checkpoint; how many others lost theirs for it.
    fn span(&mut self, start_ns: u64) -> (&mut Span, u64) {
        let same = |span: &Span| span.start_ns.abs_diff(start_ns) < SAME_NS;
        let mut folded = 0;
        let at = match self.spans.iter().rposition(same) {
            Some(at) => at,
            None => {
                if self.spans.len() >= MAX_CHECKPOINTS {
                    self.spans.remove(0);
                    folded = 1;
                }
                let at = self.spans.partition_point(|span| span.start_ns < start_ns);
                self.spans.insert(at, Span { start_ns, ..Span::default() });
                at
            }
        };
        (&mut self.spans[at], folded)
    }

    /// A statement of which the middle lay in this checkpoint; how many spans that cost.
    #[inline]
    pub fn statement(
        &mut self,
        phases: Phases,
        middle: u64,
        wall_ns: u64,
        short: &Short,
        slept: Option<&KernelLedger>,
    ) -> u64 {
        let (span, folded) = self.span(phases.start_ns);
        span.latency.record(wall_ns);
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
        folded
    }

    /// The class of such a statement.
    pub fn of_class(&mut self, query: &mut Query, wall_ns: u64) {
        if query.during.is_none() && self.classes < MAX_CLASSES {
            self.classes += 1;
            query.during = Some(Box::default());
        }
        if let Some(during) = &mut query.during {
            during.record(wall_ns);
        }
    }

    /// Adds that of a later stretch; how many spans found no room.
    pub fn merge_all(&mut self, later: Self) -> u64 {
        let mut folded = 0;
        for span in later.spans {
            let (known, lost) = self.span(span.start_ns);
            known.latency.merge(&span.latency);
            span.files.into_iter().for_each(|(ns, file)| known.file(ns, file));
            folded += lost;
        }
        self.latency.merge(&later.latency);
        self.ledger.merge(&later.ledger);
        self.write.merge(&later.write);
        self.sync.merge(&later.sync);
        self.finish.merge(&later.finish);
        self.classes = self.classes.max(later.classes);
        folded
    }
}

impl Aggregate {
    /// What is known of a checkpoint now. To be said before the records of that time are.
    pub fn checkpoint(&mut self, phases: Phases) {
        let all = &mut self.checkpoints.phases;
        let same = |known: &&mut Phases| known.start_ns.abs_diff(phases.start_ns) < SAME_NS;
        if let Some(known) = all.iter_mut().rev().find(same) {
            *known = Phases { start_ns: known.start_ns, ..phases };
            return;
        }
        if all.len() >= MAX_CHECKPOINTS {
            all.pop_front();
        }
        // A look may have seen the next one before the record of this one came.
        let at = all.partition_point(|known| known.start_ns < phases.start_ns);
        if let Some(before) = at.checked_sub(1).and_then(|before| all.get_mut(before)) {
            before.end_ns = before.end_ns.min(phases.start_ns);
        }
        let next = all.get(at).map_or(u64::MAX, |next| next.start_ns);
        all.insert(at, Phases { end_ns: phases.end_ns.min(next), ..phases });
        let (_, folded) = self.account.overlay.span(phases.start_ns);
        self.account.folded.checkpoints += folded;
    }

    /// The account is closed: gives the syncs of the checkpointer to their checkpoints.
    pub(super) fn close_checkpoints(&mut self) {
        let all = &mut self.checkpoints;
        for (end_ns, ns, file) in std::mem::take(&mut all.syncs) {
            let after = all.phases.partition_point(|phases| phases.start_ns <= end_ns);
            let Some(phases) = after.checked_sub(1).and_then(|at| all.phases.get(at)) else { continue };
            let Phases { start_ns, sync_ns, sync_end_ns, .. } = *phases;
            if sync_ns == u64::MAX || sync_end_ns == u64::MAX {
                all.syncs.push((end_ns, ns, file));
            } else if (sync_ns..=sync_end_ns).contains(&end_ns) {
                let (span, folded) = self.account.overlay.span(start_ns);
                span.file(ns, file);
                self.account.folded.checkpoints += folded;
            }
        }
    }
}

impl Account {
    /// Adds to each checkpoint of the report what its statements and files were, by its beginning.
    pub fn fill_checkpoints(&self, names: Names<'_>, wal: &mut model::Wal, started: impl Fn(&Checkpoint) -> u64) {
        for checkpoint in &mut wal.checkpoints {
            let start = started(checkpoint);
            let spans = self.overlay.spans.iter();
            let nearest = spans.min_by_key(|span| span.start_ns.abs_diff(start));
            let Some(span) = nearest.filter(|span| span.start_ns.abs_diff(start) < SAME_NS) else { continue };
            checkpoint.statements = span.latency.summary();
            let files = span.files.iter().map(|(ns, file)| CheckpointFile { file: file.clone(), sync_ns: *ns });
            checkpoint.slowest_files = files.collect();
        }
        let during = &self.overlay;
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
            during_ledger: during.ledger.model(names.major),
            outside_ledger: rest(&total.ledger.model(names.major), &during.ledger.model(names.major)),
            victims: self.victims(names),
        });
    }

    /// Classes by how much longer their statements took during checkpoints than outside, in all.
    fn victims(&self, names: Names<'_>) -> Vec<Victim> {
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
            let text = names.texts.get(text);
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
mod tests;
