//! WAL and checkpoints of one server in a stretch of time, and what a report says of them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use serde::{Deserialize, Serialize};

use super::{
    checkpoints,
    series::{self, Series},
};
use crate::{
    postgres::{backend::Role, patience::Domain, server::Server, wal_usage::WalUsage},
    report::model::{self, Report, WalBy, WalWritten},
    time::{Merge, Span},
    vocabulary::{Cause, FileKind},
};

/// Processes kept apart, those that wrote most; all are in the sums of their roles.
const MAX_PROCESSES: usize = 512;
/// Processes named in the report.
const NAMED: usize = 20;
/// Size of a page of Postgres (`BLCKSZ`), of which an image is at most.
const PAGE: u64 = 8192;
/// Sentences on the clock that are kept, the first ones.
const MAX_NOTES: usize = 64;

/// What was written to the WAL, and the checkpoints that ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    pub(super) span: Span,
    /// By all processes; none where it could not be read.
    pub(super) written: Option<WalUsage>,
    processes: Vec<Written>,
    roles: BTreeMap<Role, WalUsage>,
    series: Series,
    /// Those that wrote and ended; none where they are not counted.
    pub(super) transactions: Option<u64>,
    /// Processes that ended without a word on what they had written since the last look.
    pub(super) unread: u64,
    pub(super) checkpoints: checkpoints::Cut,
    /// What happened to the clock, for people.
    pub(super) notes: Vec<String>,
    /// Why not all is seen, for people: at the end.
    pub(super) unseen: Vec<String>,
}

/// What one process wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Written {
    pub pid: u32,
    /// When it was first looked at, which tells it from others of its number.
    pub since_ns: u64,
    pub role: Role,
    pub written: WalUsage,
}

impl Cut {
    /// `origin_ns`: where the steps of the series are counted from, the same for all cuts. It begins now if it can be read.
    pub(super) fn begin(origin_ns: u64, now_ns: u64, is_read: bool) -> Self {
        let span = Span { from_ns: now_ns, to_ns: now_ns };
        let mut this = Self { span, series: Series::on(origin_ns), ..Self::default() };
        if is_read {
            this.series.add(now_ns, WalUsage::default());
        }
        this
    }

    /// What was found to be written at this time, by whomever.
    pub(super) fn gain(&mut self, gained: &WalUsage, now_ns: u64) {
        self.written.get_or_insert_default().add(gained);
        self.series.add(now_ns, *gained);
    }

    /// What a process wrote that is not among the others yet.
    pub(super) fn add(&mut self, process: Written) {
        if process.written.records == 0 {
            return;
        }
        self.roles.entry(process.role).or_default().add(&process.written);
        self.processes.push(process);
        // Now and then, as it takes time.
        if self.processes.len() >= 2 * MAX_PROCESSES {
            self.bound();
        }
    }

    pub(super) fn bound(&mut self) {
        self.processes.sort_by_key(|one| (Reverse(one.written.bytes), one.pid, one.since_ns));
        self.processes.truncate(MAX_PROCESSES);
    }

    /// Fills what the report has of WAL, but for the statements of checkpoints, which are the aggregate's. Syncs and the waits
    /// of the archiver are in the report already.
    pub fn fill(&self, report: &mut Report, server: &Server) {
        report.coverage.notes.extend(self.notes.iter().cloned());
        let unseen = self.unseen.iter().map(|reason| format!("WAL and checkpoints are not all seen: {reason}"));
        report.coverage.notes.extend(unseen);
        report.coverage.lost.insert("wal_usage_unread".into(), self.unread);
        let mut wal = self.model();
        for by in report.fsync.by.iter().filter(|by| by.file_kind == FileKind::Wal && !by.file.contains("xlogtemp.")) {
            *wal.syncs.entry(by.syscall.to_string()).or_default() += by.count;
        }
        wal.archiver = archiver(report, server);
        report.storage.wal = wal;
    }

    /// When a checkpoint of the filled report began, by the clock of the records.
    pub fn began_ns(&self, checkpoint: &model::Checkpoint) -> u64 {
        self.span.from_ns.saturating_add_signed(checkpoint.began_ns)
    }

    /// Without what is looked up.
    fn model(&self) -> model::Wal {
        let process =
            |one: &Written| WalBy { role: one.role.into(), pid: Some(one.pid), written: written(&one.written) };
        let role = |(role, sum): (&Role, &WalUsage)| WalBy { role: (*role).into(), pid: None, written: written(sum) };
        let mut wal = model::Wal {
            written: self.written.as_ref().map(written),
            transactions: self.transactions,
            by_process: self.processes.iter().take(NAMED).map(process).collect(),
            by_role: self.roles.iter().filter(|(_, sum)| sum.records > 0).map(role).collect(),
            series: series::model(&self.series, self.span),
            ..model::Wal::default()
        };
        wal.by_role.sort_by_key(|by| Reverse(by.written.bytes));
        self.checkpoints.fill(&mut wal, self.span);
        wal
    }

    /// Those that are known go on; of one whose role was learnt meanwhile, all is of that role.
    fn merge_processes(&mut self, later: Vec<Written>) {
        let place = |(at, one): (usize, &Written)| ((one.pid, one.since_ns), at);
        let known: HashMap<_, usize> = self.processes.iter().enumerate().map(place).collect();
        for process in later {
            let Some(one) = known.get(&(process.pid, process.since_ns)).and_then(|at| self.processes.get_mut(*at))
            else {
                self.processes.push(process);
                continue;
            };
            if one.role != process.role {
                let before = self.roles.entry(one.role).or_default();
                *before = before.since(&one.written).unwrap_or_default();
                self.roles.entry(process.role).or_default().add(&one.written);
                one.role = process.role;
            }
            one.written.add(&process.written);
        }
        self.roles.retain(|_, sum| sum.records > 0);
        self.bound();
    }
}

impl Merge for Cut {
    fn merge(&mut self, later: Self) {
        self.unseen = if later.span == Span::default() { std::mem::take(&mut self.unseen) } else { later.unseen };
        self.span.merge(later.span);
        self.written.merge(later.written);
        Merge::merge(&mut self.roles, later.roles);
        self.merge_processes(later.processes);
        self.series.merge(later.series);
        self.transactions.merge(later.transactions);
        self.unread += later.unread;
        self.checkpoints.merge(later.checkpoints);
        self.notes.extend(later.notes);
        self.notes.truncate(MAX_NOTES);
    }
}

pub(super) fn written(usage: &WalUsage) -> WalWritten {
    WalWritten {
        bytes: usage.bytes,
        records: usage.records,
        full_page_images: usage.images,
        full_page_bytes_at_most: usage.bytes.min(usage.images * PAGE),
    }
}

/// What the archiver's own account says, and what it has still to do.
fn archiver(report: &Report, server: &Server) -> Option<model::Archiver> {
    let role = report.roles.iter().find(|role| role.role == Role::Archiver)?;
    // The wait event came in 15; before, it is the wait for a child.
    let parts = role
        .outside
        .parts
        .iter()
        .filter(|part| part.wait_event.as_deref() == Some("ArchiveCommand") || part.cause() == Some(Cause::Child));
    let (waits, wait_ns) = parts.fold((0, 0), |(count, ns), part| (count + part.count, ns + part.ns));
    let status = format!("/proc/{}/cwd/pg_wal/archive_status", server.cluster.postmaster_pid);
    let ready = server.patience.within(Domain::Wal, move || {
        let files = std::fs::read_dir(status).into_iter().flatten().flatten();
        files.filter(|file| file.file_name().to_string_lossy().ends_with(".ready")).count() as u64
    });
    Some(model::Archiver { waits, wait_ns, ready: ready.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 100_000_000;
    const ORIGIN: u64 = 5_000_000_000;

    fn usage(records: u64) -> WalUsage {
        WalUsage { records, images: 1, bytes: records * 100 }
    }

    /// Ticks from one to the next by number; in each two processes write.
    fn looked(ticks: std::ops::Range<u64>) -> Cut {
        let mut cut = Cut::begin(ORIGIN, ORIGIN + ticks.start * TICK, true);
        let mut sums = BTreeMap::new();
        for tick in ticks.clone() {
            for pid in [7, 8 + (tick % 30) as u32] {
                sums.entry(pid).or_insert_with(WalUsage::default).add(&usage(tick + 1));
                cut.gain(&usage(tick + 1), ORIGIN + (tick + 1) * TICK);
            }
        }
        for (pid, written) in sums {
            // The role of this one is learnt at the end.
            let role = if pid == 7 && ticks.end < 2_000 { Role::Unknown } else { Role::ClientBackend };
            cut.add(Written { pid, since_ns: 1, role, written });
        }
        cut.bound();
        cut.span.to_ns = ORIGIN + ticks.end * TICK;
        cut.transactions = Some(ticks.end - ticks.start);
        cut.unread = ticks.end - ticks.start;
        cut.unseen = vec![format!("up to {}", ticks.end)];
        cut
    }

    #[test]
    fn two_parts_are_the_whole() {
        for cut in [1, 2, 999, 1_999] {
            let mut merged = Cut::default();
            [looked(0..cut), looked(cut..2_000)].into_iter().for_each(|part| merged.merge(part));
            let whole = looked(0..2_000);
            assert_eq!(merged.model(), whole.model());
            assert_eq!(merged, whole);
            let kept = serde_json::to_string(&merged).expect("plain data");
            assert_eq!(serde_json::from_str::<Cut>(&kept).expect("what was written"), whole);
        }
        let wal = looked(0..2_000).model();
        assert_eq!((wal.by_role.len(), wal.by_process.len(), wal.transactions), (1, NAMED, Some(2_000)));
        let written = wal.written.expect("it was read");
        assert_eq!((written.records, written.full_page_images), (2_001 * 2_000, 4_000));
        assert_eq!(wal.by_role[0].written, written);
        assert_eq!(wal.series.iter().map(|step| step.written.records).sum::<u64>(), written.records);
    }

    #[test]
    fn processes_that_find_no_room_are_in_their_role() {
        let of = |pids: std::ops::Range<u32>| {
            let mut cut = Cut::default();
            for pid in pids {
                let written = usage(u64::from(pid));
                cut.add(Written { pid, since_ns: 1, role: Role::ClientBackend, written });
            }
            cut
        };
        let mut merged = of(1..500);
        merged.merge(of(500..1_001));
        assert_eq!(merged.processes.len(), MAX_PROCESSES);
        assert_eq!(merged.processes[0].pid, 1_000);
        assert_eq!(merged.roles[&Role::ClientBackend].records, 1_001 * 500);
    }
}
