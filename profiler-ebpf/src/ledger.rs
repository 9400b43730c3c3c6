//! The state machine of a backend's time: on CPU, interrupted, runnable, blocked.
//!
//! A departure and an arrival give the time off the CPU; the scheduler's own `run_delay` of the task says how much of it
//! was waiting for a CPU. That number is complete only once the task runs again, so the split is made ([`settle`]) at the
//! next event in the task's own context.

use pgstrobe_common::{
    context::{self, CLIENT_READ},
    ledger::{Ledger, PARTS, Part, SAMPLES, Sample},
    state::{
        BACKEND_ASKING, BACKEND_IN_TRANSACTION, BACKEND_MEMCG_RECLAIM, BACKEND_OFF, BACKEND_OPEN, BACKEND_SLEPT,
        BACKEND_STARTING, BACKEND_THROTTLED, Backend,
    },
};

use crate::{
    clusters,
    globals::now,
    instructions::forgotten,
    kernel::{self, Current, Task},
    pause, postgres,
};

/// How much later than the scheduler takes its times a switch is seen, at the most, in nanoseconds. A larger difference is
/// time that the task was not given.
const SWITCH: i64 = 200_000;

/// The scheduler's clock and the monotonic one do not differ by more than this within one stint on the CPU, in nanoseconds.
const CLOCK: i64 = 100_000_000;

/// A sleep that a tracepoint announces begins no later than this after it, in nanoseconds: it follows at once, but an
/// interrupt may come in between.
const PAGE_WAIT_BEGINS: u64 = 200_000;

/// The same of a pause: it is certain to follow, and only another task comes in between.
const PAUSE_BEGINS: u64 = 100_000_000;

/// The account that runs: of the open statement, or of the time outside.
#[inline(always)]
fn current(b: &mut Backend) -> &mut Ledger {
    if b.flags & BACKEND_OPEN != 0 { &mut b.inside } else { &mut b.outside }
}

/// [`settle`] for the current task.
#[inline(always)]
pub fn settle_current(b: &mut Backend, task: Current) {
    settle(b, task.run_delay(), || task.address());
}

/// Splits the last time off the CPU into blocked and runnable. `run_delay` is the task's now, `task` where its
/// `task_struct` is.
#[inline(always)]
pub fn settle(b: &mut Backend, run_delay: u64, task: impl FnOnce() -> u64) {
    if b.flags & BACKEND_OFF != 0 {
        arrived_unseen(b, task());
    }
    let away = b.away_ns;
    if away == 0 {
        return;
    }
    b.away_ns = 0;
    let delayed = run_delay.wrapping_sub(b.run_delay_ns);
    b.run_delay_ns = run_delay;
    let slept = b.flags & BACKEND_SLEPT != 0;
    let throttled = b.flags & BACKEND_THROTTLED != 0;
    let (event, context) = (b.wait_event_info, b.context);
    let mut runnable = delayed;
    let mut blocked_ns = 0;
    if slept {
        let waited = if delayed < away { delayed } else { away };
        b.woken_ns = b.on_ns - waited;
        (b.wake_wait_ns, b.wake_throttled_ns) = if throttled { (0, waited) } else { (waited, 0) };
        b.wake_preempted_ns = 0;
        let rest = away as i64 - delayed as i64 - b.skew_ns;
        b.skew_ns = 0;
        if rest >= 0 {
            blocked_ns = rest as u64;
        } else {
            b.skew_ns = -rest;
        }
    } else {
        // It was runnable all the time, whatever the scheduler counted.
        if throttled || delayed + (SWITCH as u64) < away {
            runnable = away;
        }
        if throttled {
            b.wake_throttled_ns += runnable;
        } else {
            b.wake_preempted_ns += runnable;
        }
        b.skew_ns -= away as i64 - runnable as i64;
        if b.skew_ns < -SWITCH {
            // The scheduler counted it neither here nor as time on the CPU.
            let taken = core::mem::take(&mut b.skew_ns).unsigned_abs();
            let ledger = current(b);
            if throttled {
                ledger.throttled_ns += taken;
            } else {
                ledger.interrupted_ns += taken;
            }
        }
    }
    let ledger = current(b);
    if throttled {
        ledger.throttled_ns += runnable;
        ledger.throttles += 1;
    } else if slept {
        ledger.woken_ns += runnable;
    } else {
        ledger.preempted_ns += runnable;
    }
    if slept {
        if context & context::DIRTY_THROTTLE != 0 {
            pause::ended(b, blocked_ns);
        }
        let ledger = current(b);
        let slot = add(ledger, Part { wait_event_info: event, context, count: 1, _pad: 0, ns: blocked_ns });
        b.last_slot = if b.flags & BACKEND_OPEN != 0 { slot | INSIDE } else { slot };
    } else {
        ledger.preemptions += 1;
        b.last_slot = 0;
    }
}

/// In `Backend::last_slot`: the sleep is in the ledger of the open statement.
const INSIDE: u32 = 0x100;

/// Parts from this one on are for wait events, and for ways to sleep, of which there is no part yet.
const SPARE: usize = PARTS / 2;

/// The part of [`Part::key`] in which near parts are alike.
const NEAR: u64 = u32::MAX as u64 | (context::HOW as u64) << 32;

/// Adds to a part; its number, counted from 1, or 0 where there was no room. Where there is little, one more system call or
/// kernel stack goes to a part that differs by these alone.
#[inline(always)]
fn add(ledger: &mut Ledger, new: Part) -> u32 {
    // The verifier forgets which part it is, and so looks at what follows once, not for each.
    let any = ledger.cpu_ns;
    let (mut at, mut near) = (forgotten(PARTS, any), forgotten(PARTS, any));
    for (i, part) in ledger.parts.iter().enumerate() {
        let differs = part.key() ^ new.key();
        if differs == 0 || part.count == 0 {
            at = forgotten(i, any);
            break;
        }
        if differs & NEAR == 0 {
            near = forgotten(i, any);
        }
    }
    if near < PARTS && ledger.parts.get(at).is_none_or(|part| part.count == 0 && at >= SPARE) {
        at = near;
    }
    if let Some(part) = ledger.parts.get_mut(at) {
        if part.count == 0 {
            part.wait_event_info = new.wait_event_info;
            part.context = new.context;
        }
        part.count += new.count;
        part.ns += new.ns;
        return at as u32 + 1;
    }
    ledger.other_ns += new.ns;
    ledger.other_count += new.count;
    0
}

/// What was taken for a statement was none: its account goes to the time outside.
#[inline(always)]
pub fn give_back(b: &mut Backend) {
    let (inside, outside) = (&b.inside, &mut b.outside);
    outside.cpu_ns += inside.cpu_ns;
    outside.interrupted_ns += inside.interrupted_ns;
    outside.woken_ns += inside.woken_ns;
    outside.preempted_ns += inside.preempted_ns;
    outside.throttled_ns += inside.throttled_ns;
    outside.other_ns += inside.other_ns;
    outside.switches += inside.switches;
    outside.preemptions += inside.preemptions;
    outside.throttles += inside.throttles;
    outside.other_count += inside.other_count;
    for part in &inside.parts {
        if part.count != 0 {
            add(outside, *part);
        }
    }
}

/// CPU time of the current account up to now, in which the backend is on the CPU.
#[inline(always)]
pub fn cpu_so_far(b: &mut Backend, now: u64) -> u64 {
    now.saturating_sub(b.cpu_mark_ns) + current(b).cpu_ns
}

/// Counts the time on the CPU up to a moment at which another account begins to run.
#[inline(always)]
pub fn account(b: &mut Backend, until: u64) {
    if until > b.cpu_mark_ns {
        let ns = until - b.cpu_mark_ns;
        b.cpu_mark_ns = until;
        current(b).cpu_ns += ns;
    }
}

/// An account ends: what its time off the CPU still owes to its time on it, or has too much, is settled within it.
#[inline(always)]
pub fn close(b: &mut Backend, until: u64) {
    account(b, until);
    if b.skew_ns != 0 {
        let skew = core::mem::take(&mut b.skew_ns);
        let ledger = current(b);
        let first = &mut ledger.parts[0];
        let account = if first.count != 0 && first.ns as i64 >= skew { &mut first.ns } else { &mut ledger.cpu_ns };
        let rest = *account as i64 - skew;
        *account = if rest > 0 { rest as u64 } else { 0 };
    }
}

/// A statement begins with the wake-up for its message: what came after it moves from the time outside to the statement.
/// That is the wait for a CPU, and, where the CPU was taken away again before the message was read, that too (from Linux 6.18
/// on a quota does so on the way back to user space).
#[inline(always)]
pub fn adopt_wait(b: &mut Backend) {
    let (woken, preempted, throttled) = (b.wake_wait_ns, b.wake_preempted_ns, b.wake_throttled_ns);
    let ran = (b.on_ns - b.woken_ns).saturating_sub(woken + preempted + throttled);
    let (inside, outside) = (&mut b.inside, &mut b.outside);
    let take = |from: &mut u64, to: &mut u64, ns: u64| {
        *from = from.saturating_sub(ns);
        *to = ns;
    };
    take(&mut outside.cpu_ns, &mut inside.cpu_ns, ran);
    take(&mut outside.woken_ns, &mut inside.woken_ns, woken);
    take(&mut outside.preempted_ns, &mut inside.preempted_ns, preempted);
    take(&mut outside.throttled_ns, &mut inside.throttled_ns, throttled);
    inside.throttles = u32::from(throttled != 0);
}

/// The backend leaves the CPU; it is still the current task, and `stack` gives the bits of its kernel stack.
#[inline(always)]
pub fn depart(b: &mut Backend, task: Task, preempted: bool, now: u64, stack: impl FnOnce() -> u32) {
    let run_delay = task.run_delay();
    settle(b, run_delay, || task.address());
    account(b, now);
    b.run_delay_ns = run_delay;
    b.off_ns = now;
    compare_clocks(b, task.last_arrival());
    let preempted = preempted || task.state() == 0;
    let exec = task.exec_runtime();
    interrupted(b, exec, preempted, now);
    b.exec_ns = exec;
    current(b).switches += 1;
    let memory = !task.without_memory();
    if b.flags & BACKEND_STARTING != 0 && memory {
        // Background roles never leave this state; their type is needed when they end unseen.
        let backend_type = postgres::backend_type(b);
        if backend_type != u32::MAX {
            b.backend_type = backend_type;
        }
    }
    b.flags = (b.flags | BACKEND_OFF) & !(BACKEND_SLEPT | BACKEND_THROTTLED);
    if preempted {
        if clusters::quota(b) {
            if task.throttled() {
                b.flags |= BACKEND_THROTTLED;
            }
            b.group_throttles = kernel::group_throttles(task.address());
        }
        return;
    }
    b.flags |= BACKEND_SLEPT;
    // What it waits for after it has asked in vain for a message is known, and need not be read.
    let event = if b.flags & BACKEND_ASKING != 0 && b.wait_event != 0 && task.polls_without_end() {
        CLIENT_READ
    } else if memory {
        postgres::wait_event(b)
    } else {
        0
    };
    b.flags &= !BACKEND_ASKING;
    // A wait that nobody ended goes on: a timer let the backend look for a deadlock.
    if b.waker != 0 || event != b.wait_event_info || b.wait_began_ns < b.start_ns {
        b.wait_began_ns = now;
        b.waker = 0;
    }
    b.wait_event_info = event;
    let context = context_of(b, task, event, now);
    b.context = if context::is_unexplained(context) { context | stack() } else { context };
}

#[inline(always)]
fn context_of(b: &mut Backend, task: Task, event: u32, now: u64) -> u32 {
    if event == CLIENT_READ && b.flags & (BACKEND_OPEN | BACKEND_STARTING) == 0 {
        let open = b.flags & BACKEND_IN_TRANSACTION != 0;
        return context::IDLE | if open { context::IN_TRANSACTION } else { 0 };
    }
    let mut context = task.context();
    if b.flags & BACKEND_MEMCG_RECLAIM != 0 {
        context |= context::MEMCG_RECLAIM;
    }
    if b.sync_ns != 0 {
        context |= context::SYNCING;
    }
    if b.dirty_ns != 0 {
        // A wait for pages under writeback is what a sync is made of.
        let sync = context & context::SYNCING != 0 && b.announced == context::WRITEBACK_WAIT;
        let begins = if b.announced == context::DIRTY_THROTTLE { PAUSE_BEGINS } else { PAGE_WAIT_BEGINS };
        if context & context::IOWAIT != 0 && now - b.dirty_ns < begins && !sync {
            context |= b.announced;
        }
        b.dirty_ns = 0;
    }
    context
}

/// Holds the time on the CPU against what the scheduler counted. A large difference is time that was taken from the task:
/// the kernel knows that where it accounts for interrupts (`CONFIG_IRQ_TIME_ACCOUNTING`) or for stolen time
/// (`CONFIG_PARAVIRT_TIME_ACCOUNTING`). A small one is of the moments at which switches are seen.
#[inline(always)]
fn interrupted(b: &mut Backend, exec: u64, preempted: bool, now: u64) {
    let before = b.exec_ns;
    if before == 0 {
        return;
    }
    let ran = exec.wrapping_sub(before);
    let more = ran.wrapping_sub(now - b.on_ns) as i64;
    if more >= 0 {
        // Another clock altogether, if it is more than that.
        if more < CLOCK && !take_from_sleep(b, more as u64) {
            current(b).cpu_ns += more as u64;
            b.skew_ns += more;
        }
        return;
    }
    let ledger = current(b);
    let less = more.unsigned_abs();
    let taken = if less < ledger.cpu_ns { less } else { ledger.cpu_ns };
    ledger.cpu_ns -= taken;
    // Where the CPU is taken away the scheduler's time may be that of the wake-up of the next task, long before it lets go:
    // what it counted then, the next look at the run queue tells.
    if preempted || more > -SWITCH {
        b.skew_ns -= taken as i64;
    } else {
        ledger.interrupted_ns += taken;
    }
}

/// Time on the CPU before the arrival was seen: it was counted as the end of the sleep before.
#[inline(always)]
fn take_from_sleep(b: &mut Backend, ns: u64) -> bool {
    let ledger = if b.last_slot & INSIDE != 0 { &mut b.inside } else { &mut b.outside };
    let Some(part) = ledger.parts.get_mut((b.last_slot & !INSIDE).wrapping_sub(1) as usize) else { return false };
    if part.ns < ns {
        return false;
    }
    part.ns -= ns;
    ledger.cpu_ns += ns;
    true
}

/// The backend is about to run; another task is still the current one.
#[inline(always)]
pub fn arrive(b: &mut Backend, task: Task, now: u64) {
    if b.flags & BACKEND_OFF == 0 {
        return;
    }
    quota_ran_out(b, task.address());
    on_cpu(b, now);
    b.exec_ns = task.exec_runtime();
}

/// The quota may run out while it waits, as where it is moved to a CPU that has none of it left.
#[inline(always)]
fn quota_ran_out(b: &mut Backend, task: u64) {
    if b.flags & (BACKEND_SLEPT | BACKEND_THROTTLED) == 0
        && clusters::quota(b)
        && kernel::group_throttles(task) != b.group_throttles
    {
        b.flags |= BACKEND_THROTTLED;
    }
}

/// Notes how far the scheduler's clock is behind: by the arrival of the stint that ends. That clock is of the last look at
/// it, so the smallest difference is the truest; clocks that drift apart are followed slowly.
#[inline(always)]
fn compare_clocks(b: &mut Backend, arrival: u64) {
    if arrival == 0 || b.on_ns == 0 {
        return;
    }
    let behind = b.on_ns.wrapping_sub(arrival);
    let more = behind.wrapping_sub(b.clock_ns) as i64;
    b.clock_ns = if b.clock_ns == 0 || more < 0 { behind } else { b.clock_ns.wrapping_add(more as u64 >> 4) };
}

#[inline(always)]
fn on_cpu(b: &mut Backend, now: u64) {
    b.flags &= !BACKEND_OFF;
    b.away_ns = now - b.off_ns;
    b.on_ns = now;
    b.cpu_mark_ns = now;
}

/// The backend runs, and its arrival was not seen: some kernels leave the tracepoint out where certain tasks make room, and
/// newer ones may leave out a program. The scheduler knows when it was, by its own clock ([`compare_clocks`]).
#[inline(never)]
fn arrived_unseen(b: &mut Backend, task: u64) {
    quota_ran_out(b, task);
    let (now, arrival) = (now(), kernel::last_arrival(task));
    let at = arrival.wrapping_add(b.clock_ns);
    let known = arrival != 0 && b.clock_ns != 0 && at >= b.off_ns && at <= now;
    on_cpu(b, if known { at } else { now });
}

/// A timer found the backend at work.
#[inline(always)]
pub fn sampled(b: &mut Backend) {
    // A timer may come while the memory cannot be read: then there is no sample.
    let Some(event) = postgres::wait_event_now(b) else { return };
    let samples: &mut [Sample; SAMPLES] =
        if b.flags & BACKEND_OPEN != 0 { &mut b.inside_samples } else { &mut b.outside_samples };
    for sample in samples {
        if sample.count == 0 || sample.wait_event_info == event {
            sample.wait_event_info = event;
            sample.count += 1;
            return;
        }
    }
}
