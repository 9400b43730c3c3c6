//! Calls that make data durable, with the file's name.

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

macro_rules! syscalls {
    ($($program:literal),+ $(,)?) => {
        &[$(Hook { program: $program, point: Point::Tracepoint("syscalls", $program) }),+]
    };
}

pub static PROBE: Probe = Probe {
    name: "fsync",
    help: "fsync, fdatasync, sync_file_range, msync and synchronous writes: how long, by whom, on which file",
    level: Level::Standard,
    unit: "ns",
    labels: &["backend", "role", "syscall", "file"],
    essential: false,
    ways: &[Way {
        name: "syscall",
        hooks: syscalls![
            "sys_enter_fsync",
            "sys_exit_fsync",
            "sys_enter_fdatasync",
            "sys_exit_fdatasync",
            "sys_enter_sync_file_range",
            "sys_exit_sync_file_range",
            "sys_enter_msync",
            "sys_exit_msync",
            "sys_enter_pwrite64",
            "sys_exit_pwrite64",
            "sys_enter_write",
            "sys_exit_write",
            "sys_enter_pwritev",
            "sys_exit_pwritev",
            "sys_enter_writev",
            "sys_exit_writev",
        ],
        loses: "",
    }],
    without: "no table of who syncs what",
    hit_kinds: &[Hit::Sync, Hit::Write],
    exercise: None,
};
