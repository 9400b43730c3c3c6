//! bpftrace as the witness of a process's sleeps: how long it slept in which kernel stack.

use std::time::Duration;

use crate::processes::sleeps;
use crate::witness::{Bpftrace, TICK};
use crate::writeback::stolen_ns;

/// 3 is TASK_INTERRUPTIBLE or TASK_UNINTERRUPTIBLE (include/linux/sched.h). bpftrace's programs leave each other out on a CPU: an end that is not
/// seen makes no sleep of what follows.
const SCRIPT: &str = r#"
tracepoint:sched:sched_switch /args->prev_pid == PID && (args->prev_state & 3) != 0/ { @at = nsecs; @in = kstack; }
tracepoint:sched:sched_switch /args->next_pid == PID/ { @at = 0; }
tracepoint:sched:sched_waking /args->pid == PID && @at != 0/ {
    @ns[@in] = sum(nsecs - @at); @seen = count(); @longest = max(nsecs - @at); @at = 0;
}
"#;

pub struct BpftraceStacks {
    bpftrace: Bpftrace,
    pid: u32,
    /// Sleeps by the kernel's own count, and stolen time, when it began.
    sleeps: u64,
    stolen_ns: u64,
}

/// What the witness saw.
#[derive(Debug, Default)]
pub struct Slept {
    /// In stacks with one of the functions asked for.
    pub inside: Duration,
    pub all: Duration,
    /// By how much that may be wrong: the sleeps that the kernel counted and bpftrace did not see, each taken for the longest, and
    /// what a hypervisor took meanwhile.
    pub doubt: Duration,
}

impl BpftraceStacks {
    pub fn start(pid: u32) -> Self {
        let bpftrace = Bpftrace::start(&format!("{}{TICK}", SCRIPT.replace("PID", &pid.to_string())));
        Self { bpftrace, pid, sleeps: sleeps(pid), stolen_ns: stolen_ns() }
    }

    /// To be called while the process waits for its client as it did at the start.
    pub fn stop(self, functions: &[&str]) -> Slept {
        // The last one has not ended.
        let sleeps = (sleeps(self.pid) - self.sleeps).saturating_sub(1);
        let stolen = Duration::from_nanos(stolen_ns() - self.stolen_ns);
        let (mut inside, mut all, mut is_inside) = (Duration::ZERO, Duration::ZERO, false);
        let (mut seen, mut longest) = (0, Duration::ZERO);
        for line in self.bpftrace.stop() {
            let number = |name: &str| line.strip_prefix(name).and_then(|rest| rest.parse::<u64>().ok());
            if let Some(n) = number("@seen: ") {
                seen = n;
            } else if let Some(ns) = number("@longest: ") {
                longest = Duration::from_nanos(ns);
            }
            // "@ns[", a line "    start_this_handle+427" for each function, "]: 1234"
            if line == "@ns[" {
                is_inside = false;
            } else if let Some((function, _)) = line.trim().split_once('+') {
                is_inside |= functions.contains(&function);
            } else if let Some(Ok(ns)) = line.strip_prefix("]: ").map(str::parse) {
                let ns = Duration::from_nanos(ns);
                all += ns;
                inside += if is_inside { ns } else { Duration::ZERO };
            }
        }
        let unseen = sleeps.saturating_sub(seen);
        println!("bpftrace saw {seen} of {sleeps} sleeps, the longest of {longest:?}; {stolen:?} stolen");
        Slept { inside, all, doubt: longest * unseen as u32 + stolen }
    }
}
