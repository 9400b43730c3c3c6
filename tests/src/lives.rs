//! How long processes lived and how long they waited for a CPU, as bpftrace sees them fork and exit.

use std::collections::BTreeMap;

use crate::witness::{Bpftrace, TICK};

/// From fork to exit, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Life {
    pub wall_ns: u64,
    pub run_delay_ns: u64,
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
             curtask->sched_info.run_delay); delete(@fork[pid]); }}\n"
        );
        Self { bpftrace: Bpftrace::start(&format!("{script}{TICK}")) }
    }

    /// Those that began and ended meanwhile.
    pub fn stop(self) -> BTreeMap<u32, Life> {
        let lives = self.bpftrace.stop().filter_map(|line| {
            let mut numbers = line.strip_prefix("life ")?.split(' ').map(|word| word.parse::<u64>().expect("a number"));
            let mut next = || numbers.next().expect("three numbers");
            Some((next() as u32, Life { wall_ns: next(), run_delay_ns: next() }))
        });
        lives.collect()
    }
}
