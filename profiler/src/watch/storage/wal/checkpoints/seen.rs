//! What is known of the checkpoints of a stretch of time, and what a report says of them.

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{MAX_CHECKPOINTS, Phases},
    postgres::checkpoint::Checkpoint,
    report::model::{self, WalSettings},
    time::{Merge, Span},
    vocabulary::CheckpointCause,
};

/// The checkpoints that ran in a stretch of time: the last ones, see [`MAX_CHECKPOINTS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// In the order of time.
    pub(super) seen: Vec<Seen>,
    /// The one before the first of `seen`.
    pub(super) before: Before,
    /// At the end.
    pub(super) settings: Option<WalSettings>,
    /// Start of the one that was under way when this began, where it turned out to be none.
    pub(super) skipped_us: Option<u64>,
}

/// What the next checkpoint is measured against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// By the server's clock, as all of [`Checkpoint`] is.
    pub start_us: Option<u64>,
    pub redo: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub read: Checkpoint,
    /// The same times by the clock of the records, each from when it was first known: the server's may be set meanwhile.
    #[serde(with = "PhasesInFile")]
    pub at: Phases,
    pub redo: Option<u64>,
    pub shutdown: bool,
    pub restartpoint: bool,
    /// Start of the process that makes it.
    pub process_us: u64,
    pub settings: Option<WalSettings>,
}

/// [`Phases`] in a file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Phases")]
struct PhasesInFile {
    start_ns: u64,
    write_ns: u64,
    sync_ns: u64,
    sync_end_ns: u64,
    end_ns: u64,
}

impl Cut {
    /// What follows this one: the checkpoint under way goes on.
    pub(super) fn next(&self) -> Self {
        let running = self.seen.last().filter(|last| last.read.end_us.is_none());
        let ended = &self.seen[..self.seen.len() - usize::from(running.is_some())];
        Self {
            before: ended.last().map_or(self.before, Seen::before),
            seen: running.cloned().into_iter().collect(),
            settings: self.settings.clone(),
            skipped_us: None,
        }
    }

    /// The server had nothing to do; `began_ns` is when this stretch of time began.
    pub(super) fn skip(&mut self, start_us: u64, began_ns: u64) {
        let is = |seen: &Seen| seen.read.start_us == start_us;
        if self.seen.iter().any(|seen| is(seen) && seen.at.start_ns < began_ns) {
            self.skipped_us = Some(start_us);
        }
        self.seen.retain(|seen| !is(seen));
    }

    /// The oldest go first; who adds up their statements counts those that are gone.
    pub(super) fn bound(&mut self) {
        let over = self.seen.len().saturating_sub(MAX_CHECKPOINTS);
        if let Some(last) = self.seen.drain(..over).next_back() {
            self.before = last.before();
        }
    }

    /// Without their statements, which are the aggregate's.
    pub fn fill(&self, wal: &mut model::Wal, span: Span) {
        wal.settings.clone_from(&self.settings);
        let mut before = self.before;
        for (at, seen) in self.seen.iter().enumerate() {
            let next_ns = self.seen.get(at + 1).map(|next| next.at.start_ns);
            wal.checkpoints.push(seen.model(before, next_ns, span));
            before = seen.before();
        }
    }
}

impl Merge for Cut {
    fn merge(&mut self, later: Self) {
        if *self == Self::default() {
            *self = later;
            return;
        }
        self.seen.retain(|seen| Some(seen.read.start_us) != later.skipped_us);
        for seen in later.seen {
            match self.seen.iter_mut().find(|known| known.read.start_us == seen.read.start_us) {
                Some(known) => *known = seen,
                None => {
                    let at = self.seen.partition_point(|known| known.at.start_ns <= seen.at.start_ns);
                    self.seen.insert(at, seen);
                }
            }
        }
        self.bound();
        self.settings = later.settings.or(self.settings.take());
        self.skipped_us = self.skipped_us.or(later.skipped_us);
    }
}

impl Seen {
    /// For the next one.
    fn before(&self) -> Before {
        Before { start_us: Some(self.read.start_us), redo: self.redo }
    }

    /// As measured against the one before; `next_ns` is when the next one began.
    fn model(&self, before: Before, next_ns: Option<u64>, span: Span) -> model::Checkpoint {
        let (read, at) = (&self.read, &self.at);
        // The next one begins where this one ended unseen: they follow each other at once.
        let until_ns = if read.end_us.is_some() { at.end_ns } else { next_ns.unwrap_or(span.to_ns) };
        let between = |from: u64, to: u64| to.min(until_ns).saturating_sub(from);
        let distance = before.redo.zip(self.redo).and_then(|(from, to)| to.checked_sub(from));
        model::Checkpoint {
            started_at: humantime::format_rfc3339_millis(
                std::time::UNIX_EPOCH + std::time::Duration::from_micros(read.start_us),
            )
            .to_string(),
            began_ns: at.start_ns as i64 - span.from_ns as i64,
            running: read.end_us.is_none() && next_ns.is_none(),
            end_unseen: read.end_us.is_none() && next_ns.is_some(),
            restartpoint: self.restartpoint,
            cause: self.cause(before).into(),
            begin_ns: between(at.start_ns, at.write_ns),
            write_ns: between(at.write_ns, at.sync_ns),
            sync_ns: between(at.sync_ns, at.sync_end_ns),
            finish_ns: between(at.sync_end_ns, at.end_ns),
            total_ns: between(at.start_ns, at.end_ns),
            buffers: read.buffers.into(),
            slru_buffers: read.slru_buffers.map(u64::from),
            segments_added: read.segments_added.into(),
            segments_removed: read.segments_removed.into(),
            segments_recycled: read.segments_recycled.into(),
            files: read.files.into(),
            longest_sync_ns: read.longest_sync_us * 1_000,
            sum_sync_ns: read.sync_time_us * 1_000,
            distance_bytes: distance,
            ..model::Checkpoint::default()
        }
    }

    /// What `XLogCheckpointNeeded` (src/backend/access/transam/xlog.c) and `CheckpointerMain`
    /// (src/backend/postmaster/checkpointer.c) go by.
    fn cause(&self, before: Before) -> CheckpointCause {
        let Some(settings) = &self.settings else { return CheckpointCause::Unknown };
        if self.shutdown {
            return CheckpointCause::Shutdown;
        }
        let segment = |redo: u64| redo / settings.segment_bytes.max(1);
        let segments = before.redo.zip(self.redo).map(|(from, to)| segment(to).saturating_sub(segment(from)));
        if segments.is_some_and(|segments| segments >= settings.segments_to_checkpoint) {
            return CheckpointCause::Wal;
        }
        // The checkpointer counts whole seconds from its own start, or from the last one.
        let last_us = before.start_us.unwrap_or(0).max(self.process_us);
        if last_us > 0
            && (self.read.start_us - last_us.min(self.read.start_us)) * 1_000 + 1_000_000_000
                >= settings.checkpoint_timeout_ns
        {
            return CheckpointCause::Time;
        }
        if segments.is_some() && last_us > 0 { CheckpointCause::Requested } else { CheckpointCause::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const NEVER: u64 = u64::MAX;

    /// One that began at a time, in milliseconds, and ended at another.
    fn seen(start: u64, end: Option<u64>) -> Seen {
        let read = Checkpoint { start_us: start * 1_000, end_us: end.map(|end| end * 1_000), ..Checkpoint::default() };
        let at = Phases {
            start_ns: start * MS,
            write_ns: (start + 1) * MS,
            sync_ns: NEVER,
            sync_end_ns: NEVER,
            end_ns: end.map_or(NEVER, |end| end * MS),
        };
        let redo = end.map(|end| end * 100);
        Seen { read, at, redo, shutdown: false, restartpoint: false, process_us: 0, settings: None }
    }

    fn of(seen: &[Seen]) -> Cut {
        Cut { seen: seen.to_vec(), before: Before { start_us: Some(1), redo: Some(1) }, ..Cut::default() }
    }

    fn model(cut: &Cut, to: u64) -> Vec<model::Checkpoint> {
        let mut wal = model::Wal::default();
        cut.fill(&mut wal, Span { from_ns: 0, to_ns: to * MS });
        wal.checkpoints
    }

    #[test]
    fn two_parts_are_the_whole() {
        let first = of(&[seen(10, Some(20)), seen(30, None)]);
        let mut later = first.next();
        assert_eq!((later.seen.len(), later.before), (1, Before { start_us: Some(10_000), redo: Some(2_000) }));
        later.seen = vec![seen(30, Some(60)), seen(70, None)];
        let mut merged = Cut::default();
        [first, later].into_iter().for_each(|part| merged.merge(part));
        let whole = of(&[seen(10, Some(20)), seen(30, Some(60)), seen(70, None)]);
        assert_eq!(merged, whole);
        let models = model(&merged, 90);
        assert_eq!(models.iter().map(|one| one.total_ns / MS).collect::<Vec<_>>(), [10, 30, 20]);
        assert_eq!(models[1].distance_bytes, Some(4_000));
        assert_eq!(models.iter().map(|one| one.running).collect::<Vec<_>>(), [false, false, true]);
        let kept = serde_json::to_string(&merged).expect("plain data");
        assert_eq!(serde_json::from_str::<Cut>(&kept).expect("what was written"), whole);
    }

    #[test]
    fn one_that_turns_out_to_be_none_is_none() {
        let first = of(&[seen(10, Some(20)), seen(30, None)]);
        let mut later = first.next();
        later.skip(30_000, 40 * MS);
        let mut merged = first;
        merged.merge(later);
        assert_eq!(model(&merged, 90).len(), 1);
    }

    #[test]
    fn the_last_ones_are_kept() {
        let all: Vec<Seen> = (1..=MAX_CHECKPOINTS as u64 + 9).map(|n| seen(n * 10, Some(n * 10 + 5))).collect();
        let mut merged = of(&all[..40]);
        merged.merge(of(&all[40..]));
        assert_eq!(merged.seen, all[9..]);
        assert_eq!(merged.before, all[8].before());
    }
}
