//! bpftrace as the witness of writeback: pages by device and reason, and the sleeps of tasks that wait for it.

use std::collections::BTreeMap;

use crate::witness::{Bpftrace, TICK};

/// Pages the flusher wrote, by device and number of the reason.
pub struct BpftraceFlusher {
    bpftrace: Bpftrace,
}

/// What is left to write counts down between the two.
const FLUSHER: &str = r#"
tracepoint:writeback:writeback_start { @left[tid] = args->nr_pages; @on[tid] = 1; }
tracepoint:writeback:writeback_written /@on[tid]/ {
    @pages[args->name, args->reason] = sum(@left[tid] - args->nr_pages);
    delete(@left[tid]); delete(@on[tid]);
}
"#;

impl BpftraceFlusher {
    pub fn start() -> Self {
        Self { bpftrace: Bpftrace::start(&format!("{FLUSHER}{TICK}")) }
    }

    /// Pages by device and reason; none without pages.
    pub fn stop(self) -> BTreeMap<(String, u32), u64> {
        // @pages[7:0, 0]: 1200
        let pages = self.bpftrace.stop().filter_map(|line| {
            let (key, pages) = line.strip_prefix("@pages[")?.split_once("]: ")?;
            let (device, reason) = key.split_once(", ")?;
            Some(((device.to_owned(), reason.parse().ok()?), pages.trim().parse().ok()?))
        });
        pages.filter(|(_, pages)| *pages > 0).collect()
    }
}

/// Sleeps of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sleeps {
    pub count: u64,
    /// Up to the wake-up.
    pub asleep_ns: u64,
    /// Up to the switch to the task.
    pub away_ns: u64,
}

/// How much later one profiler's program runs at an event than the other's, on average, in nanoseconds.
const BEHIND: u64 = 10_000;

impl Sleeps {
    /// Whether so many sleeps of so many nanoseconds in all are these. The scheduler's clock, which parts a wait from the
    /// wait for a CPU after it, may stand still while an idle CPU wakes up (virtual machines without a stable clock:
    /// `run_delay` stays 0), and then the whole is a wait.
    #[track_caller]
    pub fn assert_holds(&self, count: u64, ns: u64) {
        println!("{count} of {ns} ns, bpftrace: {self:?}");
        assert_eq!(count, self.count);
        let behind = BEHIND * count.max(1);
        assert!(
            self.asleep_ns.saturating_sub(behind) <= ns && ns <= self.away_ns + behind,
            "{ns} ns, bpftrace {self:?}"
        );
    }
}

/// The sleeps of Postgres that follow a tracepoint at once.
pub struct BpftraceSleeps {
    bpftrace: Bpftrace,
}

/// A task is woken as it is put on a run queue, which `sched_wakeup` sees (`sched_waking` comes before the interrupt that
/// wakes another CPU). Where that interrupts a program of bpftrace's own, the kernel leaves this one out, and where it runs
/// beside the switch on another CPU, its time may be one of the sleep before: both are no time after the sleep's begin. A
/// task that is preempted on its way to sleep has no such state yet, and one whose page was written meanwhile does not sleep
/// for it: its next sleep may be that for its client, which a signal would end (`TASK_UNINTERRUPTIBLE` is 2). A kernel that
/// leaves out the switch to the task shows it at the latest as it leaves the CPU again. Nothing is printed here: both
/// profilers would count the time that takes.
const SLEEPS: &str = r#"
tracepoint:sched:sched_wakeup /@off[args->pid] && @woken[args->pid] < @off[args->pid]/ { @woken[args->pid] = nsecs; }
tracepoint:sched:sched_switch {
    if (@off[tid]) {
        $end = @woken[tid] > @off[tid] ? @woken[tid] : nsecs;
        @count[tid] = count();
        @asleep[tid] = sum($end - @off[tid]);
        @away[tid] = sum(nsecs - @off[tid]);
        delete(@off[tid]);
        delete(@woken[tid]);
    }
    if (@armed[tid] && args->prev_state & 0xff) {
        if (args->prev_state & 2 && nsecs - @armed[tid] < BOUND) { @off[tid] = nsecs; }
        delete(@armed[tid]);
    }
    $pid = args->next_pid;
    if (@off[$pid]) {
        $until = @woken[$pid] > @off[$pid] ? @woken[$pid] : nsecs;
        @count[$pid] = count();
        @asleep[$pid] = sum($until - @off[$pid]);
        @away[$pid] = sum(nsecs - @off[$pid]);
        delete(@off[$pid]);
        delete(@woken[$pid]);
    }
}
"#;

/// Who pauses, and the dirty pages of the host and of the device at that time.
pub type Pause = (u32, u64, u64);

impl BpftraceSleeps {
    /// Pauses of `balance_dirty_pages`.
    pub fn pauses() -> Self {
        // 6.14 renamed the field.
        let old = std::fs::read_to_string("/sys/kernel/tracing/events/writeback/balance_dirty_pages/format");
        let field = if old.is_ok_and(|format| format.contains(" bdi_dirty;")) { "bdi_dirty" } else { "wb_dirty" };
        let tracepoint = format!(
            r#"tracepoint:writeback:balance_dirty_pages /comm == "postgres" && args->pause > 0/ {{
                printf("pause %d %lu %lu\n", tid, args->dirty, args->{field});
                @armed[tid] = nsecs;
            }}"#
        );
        Self::start(&tracepoint, 100_000_000)
    }

    /// Waits for a page under writeback, but for those that a sync is made of (of the log, before a page of the catalog may
    /// be driven out).
    pub fn page_waits() -> Self {
        Self::start(
            r#"
            tracepoint:syscalls:sys_enter_fsync, tracepoint:syscalls:sys_enter_fdatasync { @syncs[tid] = 1; }
            tracepoint:syscalls:sys_exit_fsync, tracepoint:syscalls:sys_exit_fdatasync { delete(@syncs[tid]); }
            tracepoint:writeback:folio_wait_writeback /comm == "postgres" && !@syncs[tid]/ { @armed[tid] = nsecs; }
            "#,
            200_000,
        )
    }

    /// Sleeps that begin within so many nanoseconds.
    fn start(tracepoint: &str, bound: u64) -> Self {
        let sleeps = SLEEPS.replace("BOUND", &bound.to_string());
        Self { bpftrace: Bpftrace::start(&format!("{tracepoint}{sleeps}{TICK}")) }
    }

    /// The sleeps by pid, and the pauses among them.
    pub fn stop(self) -> (BTreeMap<u32, Sleeps>, Vec<Pause>) {
        let (mut sleeps, mut pauses) = (BTreeMap::<u32, Sleeps>::new(), Vec::new());
        for line in self.bpftrace.stop() {
            if let Some(rest) = line.strip_prefix("pause ") {
                let words: Vec<u64> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
                let [pid, dirty, device_dirty] = words[..] else { panic!("{line}") };
                pauses.push((pid as u32, dirty, device_dirty));
            }
            // @away[4711]: 123
            let Some((map, rest)) = line.strip_prefix('@').and_then(|rest| rest.split_once('[')) else { continue };
            let Some((pid, value)) = rest.split_once("]: ") else { continue };
            let (Ok(pid), Ok(value)) = (pid.parse(), value.trim().parse()) else { continue };
            match map {
                "count" => sleeps.entry(pid).or_default().count = value,
                "asleep" => sleeps.entry(pid).or_default().asleep_ns = value,
                "away" => sleeps.entry(pid).or_default().away_ns = value,
                _ => {}
            }
        }
        (sleeps, pauses)
    }
}
