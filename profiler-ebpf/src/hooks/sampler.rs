//! A slow timer per CPU that catches backends at work: under which wait event, and with which text where that is longer
//! than the server shows.

use aya_ebpf::{macros::perf_event, programs::PerfEventContext};
use pgstrobe_common::hits::Hit;

use crate::{globals::enter, ledger, statement, targets};

#[perf_event]
pub fn sampler(_ctx: PerfEventContext) -> u32 {
    enter!(Hit::Sample);
    if let Some(b) = targets::current() {
        ledger::sampled(b);
        statement::capture(b);
    }
    0
}
