//! Page faults of statements: the task's own counts, at their beginning and their end.

use pgstrobe_common::{
    faults::{FAULTS_OUTSIDE, Faulted, Faults},
    lost::Lost,
    state::Backend,
};

use crate::emit;

/// A statement begins.
#[inline(always)]
pub fn begin(b: &mut Backend, now: Faults) {
    b.faults.mark = now;
}

/// The open statement ends. Most have no fault.
#[inline(always)]
pub fn end(b: &mut Backend, now: Faults, end: u64, class_key: u64, flags: u32) {
    let mark = b.faults.mark;
    if (now.minor ^ mark.minor) | (now.major ^ mark.major) != 0 {
        send(b, &now, end, class_key, flags);
    }
}

#[inline(never)]
fn send(b: &mut Backend, now: &Faults, end: u64, class_key: u64, flags: u32) {
    let faults = now.since(b.faults.mark);
    b.faults.mark = *now;
    b.faults.inside.add(faults);
    let header = emit::header::<Faulted>(b, end);
    emit::send(Faulted { header, class_key, start_ns: b.start_ns, flags, _pad: 0, faults }, Lost::OtherRecords);
}

/// The process ends: what is in no statement is sent.
#[inline(never)]
pub fn exit(b: &mut Backend, now: &Faults, end: u64) {
    let faults = now.since(b.faults.since).since(b.faults.inside);
    let header = emit::header::<Faulted>(b, end);
    emit::send(
        Faulted { header, class_key: 0, start_ns: 0, flags: FAULTS_OUTSIDE, _pad: 0, faults },
        Lost::OtherRecords,
    );
}
