//! The state machine of a backend's time: on CPU, runnable, blocked.
//!
//! No wake-up is traced. A departure and an arrival give the time off the CPU; the scheduler's own `run_delay` of the task
//! says how much of it was waiting for a CPU. That number is complete only once the task runs again, so the split is
//! made ([`settle`]) at the next event in the task's own context.

use pgstrobe_common::{
    ledger::Ledger,
    state::{BACKEND_OFF, BACKEND_OPEN, BACKEND_SLEPT, BACKEND_STARTING, Backend},
};

use crate::{kernel::Task, postgres};

/// Splits the last time off the CPU into blocked and runnable. `run_delay` is the task's now.
#[inline(always)]
pub fn settle(b: &mut Backend, run_delay: u64) {
    let away = b.away_ns;
    if away == 0 {
        return;
    }
    b.away_ns = 0;
    let delayed = run_delay.wrapping_sub(b.run_delay_ns);
    b.run_delay_ns = run_delay;
    let slept = b.flags & BACKEND_SLEPT != 0;
    let event = b.wait_event_info;
    // A preempted task was runnable all the time; the clocks of the two numbers differ by less than a microsecond.
    let runnable = if slept && delayed < away { delayed } else { away };
    if slept {
        b.woken_ns = b.on_ns - runnable;
    }
    let ledger = if b.flags & BACKEND_OPEN != 0 { &mut b.inside } else { &mut b.outside };
    ledger.runnable_ns += runnable;
    if slept {
        blocked(ledger, event, away - runnable);
    }
}

#[inline(always)]
fn blocked(ledger: &mut Ledger, event: u32, ns: u64) {
    for part in &mut ledger.parts {
        if part.count == 0 || part.wait_event_info == event {
            part.wait_event_info = event;
            part.count += 1;
            part.ns += ns;
            return;
        }
    }
    ledger.other_ns += ns;
    ledger.other_count += 1;
}

/// The backend leaves the CPU; it is still the current task.
#[inline(always)]
pub fn depart(b: &mut Backend, task: Task, preempted: bool, now: u64) {
    let run_delay = task.run_delay();
    settle(b, run_delay);
    b.run_delay_ns = run_delay;
    b.off_ns = now;
    let ledger = if b.flags & BACKEND_OPEN != 0 { &mut b.inside } else { &mut b.outside };
    ledger.switches += 1;
    let memory = !task.without_memory();
    if b.flags & BACKEND_STARTING != 0 && memory {
        // Background roles never leave this state; their type is needed when they end unseen.
        b.backend_type = postgres::backend_type();
    }
    if preempted || task.state() == 0 {
        b.flags = (b.flags | BACKEND_OFF) & !BACKEND_SLEPT;
    } else {
        b.flags |= BACKEND_OFF | BACKEND_SLEPT;
        b.wait_event_info = if memory { postgres::wait_event(b) } else { 0 };
    }
}

/// The backend is about to run; another task is still the current one.
#[inline(always)]
pub fn arrive(b: &mut Backend, now: u64) {
    if b.flags & BACKEND_OFF == 0 {
        return;
    }
    b.flags &= !BACKEND_OFF;
    b.away_ns = now - b.off_ns;
    b.on_ns = now;
}
