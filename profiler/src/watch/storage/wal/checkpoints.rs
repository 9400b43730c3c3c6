//! The checkpoints of a profile: as the checkpointer keeps them, looked at once a tick, and as the kernel side saw them at
//! their end, so that none is missed when the next one follows at once.

mod seen;

use pgstrobe_common::record;

use crate::{
    aggregate::{Aggregate, Phases},
    postgres::{
        backend::Role,
        checkpoint::{Checkpoint, Reader},
        control::Control,
        memory::ProcessMemory,
        server::Server,
    },
    report::model::WalSettings,
};

use super::clock::Clock;
pub use seen::Cut;
use seen::{Before, Seen};

/// A checkpoint that did not get to its buffers in this time is looked at: it may have been skipped.
const SKIPPED_NS: u64 = 200_000_000;
/// The class Activity of wait events (src/include/utils/wait_event.h; pgstat.h in 13): a background process at rest.
const CLASS_ACTIVITY: u32 = 0x05;
/// Between the beginning and the time that pg_control has of it, in seconds: that is taken right after it, by a clock that
/// may be some milliseconds behind (`time(2)`).
const SAME_S: u64 = 1;
const NOT_YET: Phases =
    Phases { start_ns: u64::MAX, write_ns: u64::MAX, sync_ns: u64::MAX, sync_end_ns: u64::MAX, end_ns: u64::MAX };

pub struct Checkpoints {
    reader: Result<Reader, String>,
    /// The checkpointer, while it is known, and when it started.
    process: Option<(ProcessMemory, u64)>,
    /// Since the last cut, which was then by the clock of the records.
    cut: Cut,
    began_ns: u64,
    /// The last one that turned out to be none: the server had nothing to do.
    skipped_us: u64,
}

impl Checkpoints {
    pub fn open(server: &Server, clock: &Clock) -> Self {
        let mut before = Before::default();
        if let Some(layout) = server.layout
            && let Some(control) = Control::read(server, &layout.user)
        {
            before.redo = Some(control.redo);
        }
        Self {
            reader: Reader::of(server),
            process: None,
            cut: Cut { before, ..Cut::default() },
            began_ns: clock.now_ns(),
            skipped_us: 0,
        }
    }

    /// Why there are none, for people.
    pub fn reason(&self) -> Option<&str> {
        self.reader.as_ref().err().map(String::as_str)
    }

    /// Another postmaster: other addresses.
    pub fn reopen(&mut self, server: &Server) {
        self.reader = Reader::of(server);
        self.process = None;
    }

    /// Takes what the checkpointer has now. To be done before the records of this time are taken out of the ring buffer.
    pub fn look(&mut self, server: &Server, aggregate: &mut Aggregate, clock: &Clock) {
        let Ok(reader) = self.reader else { return };
        if let Some((memory, _)) = &self.process
            && aggregate.identity(memory.pid()).is_none_or(|known| known.role != Role::Checkpointer)
        {
            self.process = None;
        }
        if self.process.is_none() {
            let is_checkpointer =
                |pid: &u32| aggregate.identity(*pid).is_some_and(|known| known.role == Role::Checkpointer);
            let Some(pid) = aggregate.live().find(is_checkpointer) else { return };
            let Ok(memory) = ProcessMemory::open(pid) else { return };
            let started_us = clock.process_start_us(pid).unwrap_or(0);
            self.cut.settings = settings(server, &memory);
            self.process = Some((memory, started_us));
        }
        let Some((memory, started_us)) = &self.process else { return };
        let Some(read) = reader.read(memory) else { return };
        let idle = |pid| server.wait_event(pid) >> 24 == CLASS_ACTIVITY;
        if read.write_us.is_none()
            && clock.now_ns().saturating_sub(clock.monotonic_ns(read.start_us)) > SKIPPED_NS
            && idle(memory.pid())
        {
            // Nothing was written since the last one: "checkpoint skipped because system is idle".
            if self.skipped_us != read.start_us {
                self.skipped_us = read.start_us;
                self.cut.skip(read.start_us, self.began_ns);
            }
            return;
        }
        let started_us = *started_us;
        self.place_redo(read, server);
        self.take(read, started_us, server, aggregate, clock);
    }

    /// In a storm the next checkpoint begins at once: until it has synced its files, pg_control is of the one before it,
    /// which is known if this one was known at an earlier look, hence before the records were taken.
    fn place_redo(&mut self, now: Checkpoint, server: &Server) {
        let (Ok(reader), Some((memory, _)), Some(layout)) = (&self.reader, &self.process, server.layout) else {
            return;
        };
        let [.., ended, last] = &mut self.cut.seen[..] else { return };
        if ended.redo.is_some() || last.read.start_us != now.start_us || now.sync_end_us.is_some() {
            return;
        }
        let Some(control) = Control::read(server, &layout.user) else { return };
        // Still so after the file was read.
        let still = |read: Checkpoint| read.start_us == now.start_us && read.sync_end_us.is_none();
        let same = control.time_s.abs_diff(ended.read.start_us / 1_000_000) <= SAME_S || ended.restartpoint;
        if same && reader.read(memory).is_some_and(still) {
            ended.redo = Some(control.redo);
        }
    }

    /// Takes what the kernel side saw.
    pub fn record(&mut self, record: &record::Checkpoint, server: &Server, aggregate: &mut Aggregate, clock: &Clock) {
        let Ok(reader) = self.reader else { return };
        let started_us = match &self.process {
            Some((memory, started_us)) if memory.pid() == record.header.pid => *started_us,
            _ => clock.process_start_us(record.header.pid).unwrap_or(0),
        };
        if let Some(read) = reader.parse(&record.stats) {
            self.take(read, started_us, server, aggregate, clock);
        }
    }

    fn take(&mut self, read: Checkpoint, process_us: u64, server: &Server, aggregate: &mut Aggregate, clock: &Clock) {
        let Ok(reader) = self.reader else { return };
        let known = self.cut.seen.iter().position(|seen| seen.read.start_us == read.start_us);
        // What was reported may still be there, and after the clock was set back it may look like a new one.
        let reported = known.is_none() && self.cut.before.start_us == Some(read.start_us);
        if reported || read.start_us == self.skipped_us {
            return;
        }
        if known.is_none() && read.end_us.is_some_and(|end| clock.monotonic_ns(end) < self.began_ns) {
            self.cut.before.start_us = self.cut.before.start_us.max(Some(read.start_us));
            return;
        }
        let start_ns = clock.monotonic_ns(read.start_us);
        let at = match known {
            Some(at) => at,
            None => {
                let at = self.cut.seen.partition_point(|seen| seen.at.start_ns <= start_ns);
                if let Some((memory, _)) = &self.process {
                    self.cut.settings = settings(server, memory);
                }
                let settings = self.cut.settings.clone();
                let unknown = Phases { start_ns, ..NOT_YET };
                let seen =
                    Seen { read, at: unknown, redo: None, shutdown: false, restartpoint: false, process_us, settings };
                self.cut.seen.insert(at, seen);
                self.cut.bound();
                self.cut.seen.iter().position(|seen| seen.read.start_us == read.start_us).unwrap_or(0)
            }
        };
        let process = self.process.as_ref().map(|(memory, _)| memory);
        // Read after the file: then that is of this one, or of one before.
        let is_last =
            || process.and_then(|memory| reader.read(memory)).is_some_and(|now| now.start_us == read.start_us);
        let before = at.checked_sub(1).map_or(self.cut.before.redo, |before| self.cut.seen[before].redo);
        let seen = &mut self.cut.seen[at];
        // What was known already stays: a look may be older than a record.
        let known = seen.read;
        if [read.write_us, read.sync_us, read.sync_end_us, read.end_us]
            >= [known.write_us, known.sync_us, known.sync_end_us, known.end_us]
        {
            seen.read = read;
            let follow = |at: &mut u64, us: Option<u64>| {
                if *at == u64::MAX
                    && let Some(us) = us
                {
                    *at = clock.monotonic_ns(us);
                }
            };
            follow(&mut seen.at.write_ns, read.write_us);
            follow(&mut seen.at.sync_ns, read.sync_us);
            follow(&mut seen.at.sync_end_ns, read.sync_end_us);
            follow(&mut seen.at.end_ns, read.end_us);
        }
        if seen.redo.is_none()
            && let Some(layout) = server.layout
            && let Some(control) = Control::read(server, &layout.user)
        {
            seen.shutdown |= control.shuts_down();
            seen.restartpoint |= control.in_recovery();
            let began_s = read.start_us / 1_000_000;
            // A restartpoint has the time of the primary's checkpoint: that its end was seen must do.
            let same = control.time_s.abs_diff(began_s) <= SAME_S || seen.restartpoint && read.end_us.is_some();
            // The file is written some time after the last sync; until then it has the checkpoint before, which may have
            // begun in the same second.
            let newer = before.map_or(read.end_us.is_some(), |before| control.redo > before);
            if same && newer && read.sync_end_us.is_some() && is_last() {
                seen.redo = Some(control.redo);
            }
        }
        if seen.read.write_us.is_some() {
            aggregate.checkpoint(seen.at);
        }
    }

    /// Those of the stretch of time that ends now; the one under way goes on.
    pub fn cut(&mut self, clock: &Clock) -> Cut {
        self.began_ns = clock.now_ns();
        let next = self.cut.next();
        std::mem::replace(&mut self.cut, next)
    }
}

/// As they are in the memory of the checkpointer, which reads the configuration anew when it is told to.
fn settings(server: &Server, checkpointer: &ProcessMemory) -> Option<WalSettings> {
    let u32_of = |name: &str| checkpointer.read_u32(server.address(name)?).ok();
    let positive = |name: &str| u32_of(name).filter(|value| *value > 0 && *value < i32::MAX as u32).map(u64::from);
    Some(WalSettings {
        max_wal_size_bytes: positive("max_wal_size_mb")? << 20,
        checkpoint_timeout_ns: positive("CheckPointTimeout")? * 1_000_000_000,
        checkpoint_completion_target: {
            let bits = checkpointer.read_u64(server.address("CheckPointCompletionTarget")?).ok()?;
            Some(f64::from_bits(bits)).filter(|target| (0.0..=1.0).contains(target))?
        },
        full_page_writes: u32_of("fullPageWrites")? & 0xff != 0,
        segment_bytes: positive("wal_segment_size").filter(|bytes| bytes.is_power_of_two())?,
        segments_to_checkpoint: positive("CheckPointSegments")?,
    })
}
