//! Finished statements, folded by runs of one class: a batch mostly holds one class, so that its look-up and its sums are
//! made once for several statements.
//!
//! What all statements together have (count, latency, ledger) is not recorded here: it is the sum over the classes, made
//! when a report is.

use pgstrobe_common::{
    ledger::Ledger as KernelLedger,
    record::{Finished, STATEMENT_BATCH, STATEMENT_CUT, STATEMENT_ERROR, STATEMENT_PIPELINED, STATEMENT_TERMINATED},
};

use super::{
    Aggregate, known,
    queries::{self, Class},
    slowest::Slow,
};
use crate::ledger::{Ledger, Short};

/// Flags that are counted.
const COUNTED: u32 = STATEMENT_BATCH | STATEMENT_PIPELINED | STATEMENT_TERMINATED | STATEMENT_CUT | STATEMENT_ERROR;

/// What statements of one run add up to.
#[derive(Default)]
struct Run {
    short: Short,
    errors: u64,
    sent_bytes: u64,
}

impl Aggregate {
    /// A statement ended; one that slept has a ledger of its own.
    pub fn statement(&mut self, pid: u32, finished: &Finished, slept: Option<&KernelLedger>) {
        self.fold(pid, std::slice::from_ref(finished), slept);
    }

    /// Statements of one backend that never slept.
    pub(super) fn short_statements(&mut self, pid: u32, statements: &[Finished]) {
        for run in statements.chunk_by(queries::alike) {
            self.fold(pid, run, None);
        }
    }

    /// Statements of one backend and one class, at least one.
    fn fold(&mut self, pid: u32, statements: &[Finished], slept: Option<&KernelLedger>) {
        let Some(first) = statements.first() else { return };
        let backend = known(&mut self.live, &mut self.serial, pid);
        let account = &mut self.account;
        let place = account.queries.place(backend.owner, &mut backend.last_class, first, &mut self.texts);
        if place.folded {
            account.folded.classes += statements.len() as u64;
        }
        let query = account.queries.at(place);
        let mut run = Run::default();
        for finished in statements {
            let short = Short::of(finished);
            let wall = short.wall_ns;
            run.short.add(&short);
            run.sent_bytes += finished.sent_bytes;
            // Those of a batch come later than one that slept.
            backend.last_start_ns = backend.last_start_ns.max(finished.start_ns);
            if !backend.workers.is_empty() {
                backend.workers.claim(finished, query);
            }
            let flags = finished.flags;
            if flags & COUNTED != 0 {
                account.batches += (flags & STATEMENT_BATCH != 0) as u64;
                account.pipelined += (flags & STATEMENT_PIPELINED != 0) as u64;
                account.terminated += (flags & STATEMENT_TERMINATED != 0) as u64;
                run.errors += (flags & STATEMENT_ERROR != 0) as u64;
                if flags & STATEMENT_CUT != 0 {
                    account.cut += 1;
                    continue;
                }
            }
            account.count += 1;
            query.class.latency.record(wall);
            backend.process.class.latency.record(wall);
            let middle = finished.start_ns + wall / 2;
            if let Some(phases) = self.checkpoints.at(middle) {
                account.folded.checkpoints += account.overlay.statement(phases, middle, wall, &short, slept);
                account.overlay.of_class(query, wall);
            }
            match slept {
                Some(ledger) => {
                    account.tail.slept(wall, ledger);
                    account.shares.slept(wall, ledger);
                }
                None => {
                    account.tail.short(&short);
                    account.shares.short(finished, wall);
                }
            }
            if account.slowest.admits(wall) {
                let mut ledger = Ledger::default();
                match slept {
                    Some(part) => ledger.add(wall, part),
                    None => ledger.add_short(&short),
                }
                account.slowest.insert(Slow {
                    pid,
                    class: place.class,
                    start_ns: finished.start_ns,
                    latency_ns: wall,
                    error: flags & STATEMENT_ERROR != 0,
                    ledger,
                    blocker: slept.and_then(|_| backend.blocked.take()).map(|blocked| blocked.1),
                });
            }
        }
        backend.process.class.add(&run, slept);
        query.class.add(&run, slept);
        if slept.is_some() {
            backend.blocked = None;
            self.claim_wakes(pid, first.start_ns, place.class);
            self.claim_pauses(pid, first.start_ns, place.class);
            self.claim_reclaim(pid, first, place.class);
            self.claim_aio(pid, first.start_ns, place.class);
        }
    }
}

impl Class {
    fn add(&mut self, run: &Run, slept: Option<&KernelLedger>) {
        self.errors += run.errors;
        self.sent_bytes += run.sent_bytes;
        match slept {
            Some(ledger) => self.ledger.add(run.short.wall_ns, ledger),
            None => self.ledger.add_short(&run.short),
        }
    }
}
