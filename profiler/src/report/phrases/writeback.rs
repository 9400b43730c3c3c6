//! How much may be dirty, and what was when a writer had to pause.

use crate::{
    report::model::{Pause, WritebackSettings},
    words::bytes,
};

/// `147 MiB dirty, limit 4.52 GiB, flusher from 2.26 GiB; of loop0 alone 24.9 MiB, limit 32.1 MiB`
pub(crate) fn limits(pause: &Pause) -> String {
    let mut out = format!(
        "{} dirty, limit {}, flusher from {}",
        bytes(pause.dirty_bytes),
        bytes(pause.limit_bytes),
        bytes(pause.background_limit_bytes)
    );
    if !pause.device.is_empty() {
        let (dirty, limit) = (bytes(pause.device_dirty_bytes), bytes(pause.device_limit_bytes));
        let name = pause.device_name.as_deref().unwrap_or(&pause.device);
        out += &format!("; of {name} alone {dirty}, limit {limit}");
    }
    out
}

/// What is set, in the words of `sysctl` and `postgresql.conf`.
pub(crate) fn settings(settings: &WritebackSettings) -> String {
    let mut out = vec![dirty_setting("background_", settings), dirty_setting("", settings)];
    for (name, ns) in [("expire", settings.dirty_expire_ns), ("writeback", settings.dirty_writeback_ns)] {
        out.push(format!("vm.dirty_{name}_centisecs = {}", ns / 10_000_000));
    }
    for (name, after) in [
        ("backend_flush_after", settings.backend_flush_after_bytes),
        ("bgwriter_flush_after", settings.bgwriter_flush_after_bytes),
        ("checkpoint_flush_after", settings.checkpoint_flush_after_bytes),
    ] {
        out.extend(after.map(|after| format!("{name} = {}", flush_after(after))));
    }
    out.join(", ")
}

/// `vm.dirty_background_ratio = 10 (2.25 GiB)`, or the setting in bytes where that one holds; `kind` is `background_` or
/// nothing.
pub(crate) fn dirty_setting(kind: &str, settings: &WritebackSettings) -> String {
    let (set, ratio, is) = match kind {
        "" => (settings.dirty_bytes, settings.dirty_ratio, settings.limit_bytes),
        _ => (settings.dirty_background_bytes, settings.dirty_background_ratio, settings.background_limit_bytes),
    };
    match set {
        0 => format!("vm.dirty_{kind}ratio = {ratio} ({})", bytes(is)),
        set => format!("vm.dirty_{kind}bytes = {set}"),
    }
}

/// As `postgresql.conf` has it: `256kB`, `0` for off.
fn flush_after(bytes: u64) -> String {
    if bytes == 0 { "0".into() } else { format!("{}kB", bytes / 1024) }
}
