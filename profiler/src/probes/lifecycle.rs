//! Backends that come and go, and servers that come.

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

const FORK: Hook = Hook { program: "sched_process_fork", point: Point::TpBtf("sched_process_fork") };
const EXIT: Hook = Hook { program: "sched_process_exit", point: Point::TpBtf("sched_process_exit") };
/// Servers that start: what it misses is found by looking around.
const EXEC: Hook = Hook { program: "sched_process_exec", point: Point::TpBtf("sched_process_exec") };
const FORK_AGAIN: Hook = Hook { program: "sched_process_fork_again", point: Point::TpBtfAgain("sched_process_fork") };
const EXIT_AGAIN: Hook = Hook { program: "sched_process_exit_again", point: Point::TpBtfAgain("sched_process_exit") };
const LAST_WORDS: Hook =
    Hook { program: "sys_enter_exit_group", point: Point::Tracepoint("syscalls", "sys_enter_exit_group") };

pub static PROBE: Probe = Probe {
    name: "lifecycle",
    help: "fork, start-up and exit of backends, so that the first statement of a connection counts",
    level: Level::Sample,
    unit: "count",
    labels: &["role"],
    essential: true,
    ways: &[
        Way { name: "named exit", hooks: &[FORK, EXIT, EXEC, FORK_AGAIN, EXIT_AGAIN, LAST_WORDS], loses: "" },
        Way {
            name: "exit",
            hooks: &[FORK, EXIT, EXEC, FORK_AGAIN, EXIT_AGAIN],
            loses: "background workers that live for less than a tenth of a second are not told apart",
        },
    ],
    without: "backends that connect during the profile are not seen",
    hit_kinds: &[Hit::Fork, Hit::Exit],
    exercise: None,
};
