//! Time that no statement's record brings: outside statements, and of one that did not end.

use pgstrobe_common::{
    ledger::{Ledger as KernelLedger, SAMPLES, Sample},
    record::IdleInTransaction,
    state::{
        BACKEND_IN_TRANSACTION, BACKEND_OFF, BACKEND_OPEN, BACKEND_SLEPT, BACKEND_THROTTLED, Backend as KernelBackend,
    },
};

use super::{Aggregate, Backend, account::Open};
use crate::ledger::Ledger;

impl Aggregate {
    /// The state of a live backend at the end of the profile, or of an interval. `query` is the text in work.
    pub fn settle(&mut self, pid: u32, state: &KernelBackend, now: u64, query: Option<(Vec<u8>, bool)>, before: bool) {
        let Some(backend) = self.live.get_mut(&pid) else { return };
        let open = state.flags & BACKEND_OPEN != 0;
        let mut inside = state.inside;
        let mut outside = state.outside;
        let current = if open { &mut inside } else { &mut outside };
        // What the kernel side had not split yet, and the sleep that goes on.
        let mut add = |ns: u64| {
            if ns == 0 {
                return;
            }
            if state.flags & BACKEND_SLEPT != 0 {
                add_blocked(current, state.wait_event_info, state.context, ns);
            } else if state.flags & BACKEND_THROTTLED != 0 {
                current.throttled_ns += ns;
            } else {
                current.preempted_ns += ns;
            }
        };
        if state.flags & BACKEND_OFF != 0 {
            add(now.saturating_sub(state.off_ns).saturating_add_signed(state.skew_ns.saturating_neg()));
        } else {
            add(state.away_ns.saturating_add_signed(state.skew_ns.saturating_neg()));
            current.cpu_ns += now.saturating_sub(state.cpu_mark_ns);
        }
        let mut idle = state.idle;
        if !open && state.flags & BACKEND_IN_TRANSACTION != 0 {
            let ns = now.saturating_sub(state.end_ns);
            idle.count += 1;
            idle.total_ns += ns;
            idle.max_ns = idle.max_ns.max(ns);
        }
        let elapsed = if open { now.saturating_sub(state.start_ns) } else { 0 };
        let life = now.saturating_sub(state.since_ns);
        let outside_ns = life.saturating_sub(state.inside_ns).saturating_sub(elapsed);
        backend.settle_outside(outside_ns, &outside, &idle, &state.outside_samples);
        if open && state.start_ns != backend.last_start_ns {
            let mut ledger = Ledger::default();
            ledger.add(elapsed, &inside);
            let owner = backend.owner;
            let query = query.map(|(text, cut)| self.texts.show(&text, cut));
            self.account.unfinished.push(Open { pid, owner, query, elapsed_ns: elapsed, began_before: before, ledger });
        }
    }
}

impl Backend {
    /// Takes what the kernel side's cumulative outside account has gained since the last report.
    pub(super) fn settle_outside(
        &mut self,
        outside_ns: u64,
        outside: &KernelLedger,
        idle: &IdleInTransaction,
        samples: &[Sample; SAMPLES],
    ) {
        let process = &mut self.process;
        let (before_ns, before) = std::mem::replace(&mut self.settled, (outside_ns, *outside));
        process.outside.gain(outside_ns.saturating_sub(before_ns), outside, &before);
        let before = std::mem::replace(&mut self.settled_idle, *idle);
        process.idle.count += idle.count.saturating_sub(before.count);
        process.idle.total_ns += idle.total_ns.saturating_sub(before.total_ns);
        process.idle.max_ns = process.idle.max_ns.max(idle.max_ns);
        let before = std::mem::replace(&mut self.settled_samples, *samples);
        for (sample, before) in samples.iter().zip(&before).filter(|(sample, _)| sample.count != 0) {
            *process.samples.entry(sample.wait_event_info).or_default() +=
                sample.count.saturating_sub(before.count) as u64;
        }
    }
}

fn add_blocked(ledger: &mut KernelLedger, event: u32, context: u32, ns: u64) {
    for part in &mut ledger.parts {
        if part.count == 0 || (part.wait_event_info, part.context) == (event, context) {
            part.wait_event_info = event;
            part.context = context;
            part.count += 1;
            part.ns += ns;
            return;
        }
    }
    ledger.other_ns += ns;
    ledger.other_count += 1;
}
