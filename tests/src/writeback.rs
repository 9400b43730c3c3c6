//! bpftrace as the witness of writeback: pages by device and reason, and the sleeps of tasks that wait for it.

use std::collections::BTreeMap;

use pgstrobe::report::model::Hist;

use crate::load::Latencies;
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

/// One sleep as the witness saw it, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sleep {
    /// Up to the wake-up.
    pub asleep_ns: u64,
    /// Up to the switch to the task.
    pub away_ns: u64,
    /// What the scheduler counted of that as a wait for a CPU.
    pub delay_ns: u64,
    /// How far, from the sleep before to this one, the scheduler's times on the CPU and in the run queue and those that a
    /// program at the switches sees are apart: switch by switch, up to [`SWITCH`] at each, and in all. A profiler gives what is
    /// missing or too much to the next sleep; where more than [`SWITCH`] is missing at once it calls that an interruption.
    pub apart_ns: u64,
}

/// Sleeps of one process.
pub type Sleeps = Vec<Sleep>;

/// How much later one profiler's program runs at an event than the other's, on average, in nanoseconds.
const BEHIND: u64 = 10_000;

/// As in the eBPF side's `ledger.rs`, in nanoseconds.
const SWITCH: u64 = 200_000;

impl Sleep {
    /// The wait is at least that. A wake-up is seen after the scheduler has put the task into its queue: where a hypervisor
    /// takes the CPU between the two, it is the scheduler's account that is right.
    fn least_ns(&self) -> u64 {
        self.asleep_ns.min(self.away_ns.saturating_sub(self.delay_ns)).saturating_sub(BEHIND + self.apart_ns)
    }

    /// And at most that. The scheduler's clock, which parts a wait from the wait for a CPU after it, may stand still while an
    /// idle CPU wakes up (virtual machines without a stable clock: `run_delay` stays 0), and then the whole is a wait.
    fn most_ns(&self) -> u64 {
        self.away_ns + BEHIND + self.apart_ns
    }
}

/// Whether so many sleeps of so many nanoseconds in all are these. `stolen_ns` is what a hypervisor took from this machine
/// meanwhile: a part of it may lie between the two profilers' programs at one event.
#[track_caller]
pub fn assert_sleeps(sleeps: &[Sleep], count: u64, ns: u64, stolen_ns: u64) {
    let sum = |of: &dyn Fn(&Sleep) -> u64| sleeps.iter().map(of).sum::<u64>();
    let (least, most) = (sum(&Sleep::least_ns), sum(&Sleep::most_ns));
    println!(
        "{count} of {ns} ns, between {least} and {most} ns; bpftrace: {} asleep, {} away, {} delayed, {} apart; {stolen_ns} stolen",
        sum(&|one| one.asleep_ns),
        sum(&|one| one.away_ns),
        sum(&|one| one.delay_ns),
        sum(&|one| one.apart_ns)
    );
    assert_eq!(count, sleeps.len() as u64);
    assert!(ns + stolen_ns >= least && ns <= most + stolen_ns, "{ns} ns of {least} to {most} ns: {sleeps:?}");
}

/// The same of the middle one, which no single theft moves. A percentile is the upper end of a bucket of 1/128.
#[track_caller]
pub fn assert_median(sleeps: &[Sleep], seen: &Hist) {
    let rank = |of: &dyn Fn(&Sleep) -> u64| Latencies::of(sleeps.iter().map(of).collect()).quantile(0.5);
    let (least, most) = (rank(&Sleep::least_ns), rank(&Sleep::most_ns));
    println!("p50 {} ns, between {least} and {most} ns", seen.p50);
    assert!(seen.p50 >= least && seen.p50 - seen.p50 / 127 <= most, "{} ns of {least} to {most} ns", seen.p50);
}

/// What a hypervisor took from this machine so far, in nanoseconds, by the kernel's count.
pub fn stolen_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let first = stat.lines().next().unwrap_or_default();
    // proc(5): the eighth number of the first line, in hundredths of a second.
    first.split_whitespace().nth(8).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0) * 10_000_000
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
/// leaves out the switch to the task shows it at the latest as it leaves the CPU again. The scheduler's account of a sleep
/// is whole when the task leaves the CPU for the next time. Nothing is printed here: both profilers would count the time
/// that takes.
const SLEEPS: &str = r#"
tracepoint:sched:sched_wakeup /@off[args->pid] && @woken[args->pid] < @off[args->pid]/ { @woken[args->pid] = nsecs; }
tracepoint:sched:sched_switch /@known[tid]/ {
    $delay = curtask->sched_info.run_delay;
    $exec = curtask->se.sum_exec_runtime;
    if (@off[tid] && !@on[tid]) { @on[tid] = nsecs; }
    if (@on[tid]) {
        $waited = $delay - @delay[tid];
        $ran = $exec - @exec[tid];
        $seen = nsecs - @on[tid];
        $off = $ran > $seen ? $ran - $seen : $seen - $ran;
        @apart[tid] = @apart[tid] + ($off < SWITCH ? $off : SWITCH);
        @more[tid] = @more[tid] + $ran;
        @less[tid] = @less[tid] + $seen;
        $away = @on[tid] - @out[tid];
        if (@off[tid]) {
            $n = @n[tid] + 1;
            @n[tid] = $n;
            @asleep[tid, $n] = (@woken[tid] > @off[tid] ? @woken[tid] : @on[tid]) - @off[tid];
            @away[tid, $n] = $away;
            @delayed[tid, $n] = $waited;
            @between[tid, $n] = @before[tid];
            delete(@off[tid]);
            delete(@woken[tid]);
        } else {
            if (!@slept[tid]) {
                $skew = $away > $waited ? $away - $waited : $waited - $away;
                @apart[tid] = @apart[tid] + ($skew < SWITCH ? $skew : SWITCH);
                @more[tid] = @more[tid] + $waited;
                @less[tid] = @less[tid] + $away;
            }
        }
    }
    @delay[tid] = $delay;
    @exec[tid] = $exec;
    @out[tid] = nsecs;
    @slept[tid] = args->prev_state & 0xff ? 1 : 0;
    delete(@on[tid]);
    if (@armed[tid] && args->prev_state & 0xff) {
        if (args->prev_state & 2 && nsecs - @armed[tid] < BOUND) {
            @off[tid] = nsecs;
            $net = @more[tid] > @less[tid] ? @more[tid] - @less[tid] : @less[tid] - @more[tid];
            @before[tid] = @apart[tid] + $net;
            @apart[tid] = 0;
            @more[tid] = 0;
            @less[tid] = 0;
        }
        delete(@armed[tid]);
    }
}
tracepoint:sched:sched_switch /@known[args->next_pid]/ { @on[args->next_pid] = nsecs; }
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
                @armed[tid] = nsecs; @known[tid] = 1;
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
            tracepoint:writeback:folio_wait_writeback /comm == "postgres" && !@syncs[tid]/ { @armed[tid] = nsecs; @known[tid] = 1; }
            "#,
            200_000,
        )
    }

    /// Sleeps that begin within so many nanoseconds.
    fn start(tracepoint: &str, bound: u64) -> Self {
        let sleeps = SLEEPS.replace("BOUND", &bound.to_string()).replace("SWITCH", &SWITCH.to_string());
        Self { bpftrace: Bpftrace::start(&format!("{tracepoint}{sleeps}{TICK}")) }
    }

    /// The sleeps by pid, and the pauses among them.
    pub fn stop(self) -> (BTreeMap<u32, Sleeps>, Vec<Pause>) {
        let (mut sleeps, mut pauses) = (BTreeMap::<u32, BTreeMap<u64, Sleep>>::new(), Vec::new());
        for line in self.bpftrace.stop() {
            if let Some(rest) = line.strip_prefix("pause ") {
                let words: Vec<u64> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
                let [pid, dirty, device_dirty] = words[..] else { panic!("{line}") };
                pauses.push((pid as u32, dirty, device_dirty));
            }
            // @away[4711, 3]: 123
            let Some((map, rest)) = line.strip_prefix('@').and_then(|rest| rest.split_once('[')) else { continue };
            let Some((key, value)) = rest.split_once("]: ") else { continue };
            let Some((pid, n)) = key.split_once(", ") else { continue };
            let (Ok(pid), Ok(n), Ok(value)) = (pid.parse(), n.parse(), value.trim().parse()) else { continue };
            let sleep = sleeps.entry(pid).or_default().entry(n).or_default();
            match map {
                "asleep" => sleep.asleep_ns = value,
                "away" => sleep.away_ns = value,
                "delayed" => sleep.delay_ns = value,
                "between" => sleep.apart_ns = value,
                _ => {}
            }
        }
        (sleeps.into_iter().map(|(pid, of)| (pid, of.into_values().collect())).collect(), pauses)
    }
}
