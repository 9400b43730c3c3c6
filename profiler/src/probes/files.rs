//! Reads and writes of files: by kind, file and statement, and whether the page cache had them.

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

/// Entry and return of each call, and further hooks.
macro_rules! calls {
    ([$($call:literal),+ $(,)?] $($more:expr)?) => {
        &[
            $(
                Hook {
                    program: concat!("sys_enter_", $call),
                    point: Point::Tracepoint("syscalls", concat!("sys_enter_", $call)),
                },
                Hook {
                    program: concat!("sys_exit_", $call),
                    point: Point::Tracepoint("syscalls", concat!("sys_exit_", $call)),
                },
            )+
            $($more)?
        ]
    };
}

macro_rules! all_calls {
    ($($more:expr)?) => {
        calls![
            [
                "pread64", "preadv", "read", "pwrite64", "pwritev", "write", "writev", "ftruncate", "truncate",
                "fallocate", "fadvise64",
            ]
            $($more)?
        ]
    };
}

pub static PROBE: Probe = Probe {
    name: "files",
    help: "reads, writes, extends and truncates by file and statement; page cache or device",
    level: Level::Standard,
    unit: "bytes",
    labels: &["role", "file", "statement class"],
    essential: false,
    ways: &[
        Way {
            name: "bio",
            hooks: all_calls![Hook { program: "block_bio_queue", point: Point::TpBtf("block_bio_queue") }],
            loses: "",
        },
        Way { name: "calls", hooks: all_calls![], loses: "bytes read from the device, and reads before writes" },
    ],
    without: "no reads and writes by file, relation and statement",
    hit_kinds: &[Hit::File, Hit::Write],
    exercise: None,
};
