//! Statement boundary by name (`--boundary uprobe`): entries of the message loop's functions, or what stands in for them.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use pgstrobe_common::hits::Hit;

use crate::{
    clusters,
    globals::enter,
    kernel::Current,
    statement::{self, Entry},
    targets,
};

#[inline(always)]
fn entered(entry: Entry) -> u32 {
    enter!(Hit::Entry);
    let task = Current::get();
    if let Some(b) = targets::of(task) {
        statement::entered(task, b, entry);
    }
    0
}

/// `exec_simple_query` or USDT `query__start`.
#[uprobe]
pub fn entry_simple(_ctx: ProbeContext) -> u32 {
    entered(Entry::Simple)
}

/// `exec_parse_message` or USDT `query__parse__start`.
#[uprobe]
pub fn entry_parse(_ctx: ProbeContext) -> u32 {
    entered(Entry::Parse)
}

/// `exec_bind_message`.
#[uprobe]
pub fn entry_bind(_ctx: ProbeContext) -> u32 {
    entered(Entry::Bind)
}

/// `exec_execute_message` or USDT `query__execute__start`.
#[uprobe]
pub fn entry_execute(_ctx: ProbeContext) -> u32 {
    entered(Entry::Execute)
}

/// `pgstat_report_activity(state, text)`: the last resort, exported by every server.
#[uprobe]
pub fn entry_activity(ctx: ProbeContext) -> u32 {
    enter!(Hit::Entry);
    let task = Current::get();
    if let Some(b) = targets::of(task)
        && let Some(cluster) = clusters::of(b)
        && ctx.arg::<u32>(0) == Some(cluster.state_running)
    {
        statement::entered(task, b, Entry::Parse);
    }
    0
}
