//! bpftrace on the tracepoints of the block layer, keyed by the address of the request.

use std::collections::BTreeMap;

use crate::witness::{Bpftrace, TICK};

/// Durations of one kind in steps of a microsecond: how many of each.
#[derive(Default, Debug)]
pub struct Micros(BTreeMap<u64, u64>);

impl Micros {
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The middle of the step in which the quantile lies, in nanoseconds.
    pub fn quantile(&self, at: f64) -> u64 {
        let rank = (at * self.count() as f64).ceil() as u64;
        let mut seen = 0;
        for (micros, n) in &self.0 {
            seen += n;
            if seen >= rank {
                return micros * 1000 + 500;
            }
        }
        0
    }
}

/// What it saw of one device.
#[derive(Default, Debug)]
pub struct BlockTimes {
    /// From the insertion to the issue.
    pub queue: Micros,
    /// From the issue to the completion.
    pub device: Micros,
    /// By the process that was current when it was first seen, and flags such as `WS`.
    pub begun: BTreeMap<(u32, String), u64>,
}

pub struct BpftraceBlocks(Bpftrace);

impl BpftraceBlocks {
    /// Returns once it traces the device: major × 2²⁰ + minor. Sectors tell requests apart, so no two under way may have the
    /// same.
    pub fn start(dev: u32) -> Self {
        let script = format!(
            r#"
tracepoint:block:block_rq_insert /args->dev == {dev}/ {{ @n[pid, args->rwbs] = count(); @i[args->sector] = nsecs; }}
tracepoint:block:block_rq_issue /args->dev == {dev}/ {{
    if (@i[args->sector]) {{ @queue[(nsecs - @i[args->sector]) / 1000] = count(); delete(@i[args->sector]); }}
    else {{ @n[pid, args->rwbs] = count(); }}
    @s[args->sector] = nsecs;
}}
tracepoint:block:block_rq_complete /args->dev == {dev} && @s[args->sector]/ {{
    @device[(nsecs - @s[args->sector]) / 1000] = count(); delete(@s[args->sector]);
}}
{TICK}"#
        );
        Self(Bpftrace::start(&script))
    }

    pub fn stop(self) -> BlockTimes {
        let mut times = BlockTimes::default();
        for line in self.0.stop() {
            // @queue[12]: 3
            let Some((name, rest)) = line.strip_prefix('@').and_then(|rest| rest.split_once('[')) else { continue };
            let Some((key, count)) = rest.rsplit_once("]: ") else { continue };
            let count: u64 = count.trim().parse().expect("bpftrace's count");
            match name {
                "queue" => _ = times.queue.0.insert(key.parse().expect("microseconds"), count),
                "device" => _ = times.device.0.insert(key.parse().expect("microseconds"), count),
                "n" => {
                    let (pid, flags) = key.split_once(", ").expect("bpftrace's key");
                    // What lies behind the end of the flags makes keys of its own.
                    *times.begun.entry((pid.parse().expect("a pid"), flags.to_owned())).or_default() += count;
                }
                _ => {}
            }
        }
        times
    }
}

/// What it saw of single requests, by their first sector. Nanoseconds.
#[derive(Default, Debug)]
pub struct RequestTimes {
    /// From the insertion to the issue.
    pub queue: BTreeMap<u64, u64>,
    /// From the issue to the completion.
    pub device: BTreeMap<u64, u64>,
}

/// The same of single requests: each sector may be asked for only once.
pub struct BpftraceRequests(Bpftrace);

impl BpftraceRequests {
    /// Returns once it traces the device: major × 2²⁰ + minor.
    pub fn start(dev: u32) -> Self {
        let script = format!(
            r#"
tracepoint:block:block_rq_insert /args->dev == {dev}/ {{ @i[args->sector] = nsecs; }}
tracepoint:block:block_rq_issue /args->dev == {dev}/ {{
    if (@i[args->sector]) {{ @queue[args->sector] = nsecs - @i[args->sector]; }}
    @s[args->sector] = nsecs;
}}
tracepoint:block:block_rq_complete /args->dev == {dev} && @s[args->sector]/ {{
    @device[args->sector] = nsecs - @s[args->sector];
}}
{TICK}"#
        );
        Self(Bpftrace::start(&script))
    }

    pub fn stop(self) -> RequestTimes {
        let mut times = RequestTimes::default();
        for line in self.0.stop() {
            // @queue[2048]: 12345
            let Some((name, rest)) = line.strip_prefix('@').and_then(|rest| rest.split_once('[')) else { continue };
            let to = match name {
                "queue" => &mut times.queue,
                "device" => &mut times.device,
                _ => continue,
            };
            let (sector, ns) = rest.split_once("]: ").expect("bpftrace's key");
            to.insert(sector.parse().expect("a sector"), ns.trim().parse().expect("nanoseconds"));
        }
        times
    }
}
