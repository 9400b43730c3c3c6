//! How long processes lived, how long they waited for a CPU, and how long the kernel was then at work for them, as bpftrace
//! sees them fork, exit and leave the CPU for good.

use std::collections::BTreeMap;

use crate::witness::{Bpftrace, TICK};

/// In nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Life {
    /// From fork to exit.
    pub wall_ns: u64,
    /// The same, in the run queue.
    pub run_delay_ns: u64,
    /// From the exit that all can see on, on a CPU: the kernel frees its memory then.
    pub freed_ns: u64,
}

pub struct Lives {
    bpftrace: Bpftrace,
}

impl Lives {
    /// Watches the children of one process.
    pub fn watch(parent: u32) -> Self {
        let script = format!(
            "tracepoint:sched:sched_process_fork /args->parent_pid == {parent}/ {{ @fork[args->child_pid] = nsecs; }}\n\
             tracepoint:sched:sched_process_exit /@fork[pid]/ {{ printf(\"life %d %ld %ld\\n\", pid, nsecs - @fork[pid], \
             curtask->sched_info.run_delay); delete(@fork[pid]); @on[pid] = nsecs; }}\n\
             tracepoint:sched:sched_switch /@on[args->prev_pid]/ {{ @freed[args->prev_pid] += nsecs - \
             @on[args->prev_pid]; delete(@on[args->prev_pid]); @off[args->prev_pid] = 1; }}\n\
             tracepoint:sched:sched_switch /@off[args->next_pid]/ {{ @on[args->next_pid] = nsecs; \
             delete(@off[args->next_pid]); }}\n"
        );
        Self { bpftrace: Bpftrace::start(&format!("{script}{TICK}")) }
    }

    /// Those that began and ended meanwhile.
    pub fn stop(self) -> BTreeMap<u32, Life> {
        let number = |word: &str| word.parse::<u64>().expect("a number");
        let mut lives = BTreeMap::new();
        for line in self.bpftrace.stop() {
            if let Some(line) = line.strip_prefix("life ") {
                let mut numbers = line.split(' ').map(number);
                let mut next = || numbers.next().expect("three numbers");
                lives.insert(next() as u32, Life { wall_ns: next(), run_delay_ns: next(), freed_ns: 0 });
            } else if let Some((pid, ns)) = line.strip_prefix("@freed[").and_then(|line| line.split_once("]: "))
                && let Some(life) = lives.get_mut(&(number(pid) as u32))
            {
                life.freed_ns = number(ns);
            }
        }
        lives
    }
}
