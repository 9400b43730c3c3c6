//! bpftrace as the witness of a process's sleeps: how long it slept in which kernel stack.

use std::time::Duration;

use crate::witness::{Bpftrace, TICK};

/// 3 is TASK_INTERRUPTIBLE or TASK_UNINTERRUPTIBLE (include/linux/sched.h). bpftrace's programs leave each other out on a CPU: an end that is not
/// seen makes no sleep of what follows.
const SCRIPT: &str = r#"
tracepoint:sched:sched_switch /args->prev_pid == PID && (args->prev_state & 3) != 0/ { @at = nsecs; @in = kstack; }
tracepoint:sched:sched_switch /args->next_pid == PID/ { @at = 0; }
tracepoint:sched:sched_waking /args->pid == PID && @at != 0/ { @ns[@in] = sum(nsecs - @at); @at = 0; }
"#;

pub struct BpftraceStacks(Bpftrace);

impl BpftraceStacks {
    pub fn start(pid: u32) -> Self {
        Self(Bpftrace::start(&format!("{}{TICK}", SCRIPT.replace("PID", &pid.to_string()))))
    }

    /// How long it slept in stacks with one of these functions, and in all.
    pub fn stop(self, functions: &[&str]) -> (Duration, Duration) {
        let (mut inside, mut all, mut is_inside) = (Duration::ZERO, Duration::ZERO, false);
        for line in self.0.stop() {
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
        (inside, all)
    }
}
