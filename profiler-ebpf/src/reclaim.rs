//! Memory that a backend frees before it gets some. It may happen thousands of times a second, so it is summed in the
//! backend's state, and sent with the statement, or with the exit.
//!
//! One does not happen within another: who frees memory may use the reserves (`PF_MEMALLOC`, mm/vmscan.c).

use pgstrobe_common::{
    lost::Lost,
    reclaim::{RECLAIM_KINDS, RECLAIM_OUTSIDE, ReclaimSum, Reclaimed},
    state::{BACKEND_OPEN, BACKEND_RECLAIMED, Backend},
};

use crate::{emit, globals::now, instructions::clear, ledger, targets};

#[inline(always)]
pub fn begins(b: &mut Backend) {
    let now = now();
    b.reclaim.began_ns = now;
    b.reclaim.began_cpu_ns = ledger::cpu_so_far(b, now);
}

/// It freed so many pages. One whose beginning was not seen began before the profile, and is not counted.
#[inline(always)]
pub fn ends(b: &mut Backend, kind: usize, pages: u64) {
    let began = core::mem::take(&mut b.reclaim.began_ns);
    if began == 0 {
        return;
    }
    let now = now();
    let ns = now - began;
    let cpu = ledger::cpu_so_far(b, now).saturating_sub(b.reclaim.began_cpu_ns);
    // What the scheduler counts differs a little from what is seen.
    let one = ReclaimSum { count: 1, ns, cpu_ns: if cpu < ns { cpu } else { ns }, max_ns: ns, pages };
    if b.flags & BACKEND_OPEN != 0 {
        b.flags |= BACKEND_RECLAIMED;
        b.reclaim.inside[kind].add(&one);
    } else {
        b.reclaim.outside[kind].add(&one);
    }
}

/// The open statement has ended. Rare, and so not copied into every program that ends statements.
#[inline(never)]
pub fn finished(b: &mut Backend, end: u64, class_key: u64, flags: u32) {
    emit::send(
        Reclaimed {
            header: emit::header::<Reclaimed>(b, end),
            class_key,
            start_ns: b.start_ns,
            flags,
            _pad: 0,
            sums: b.reclaim.inside,
        },
        Lost::OtherRecords,
    );
    // SAFETY: a field of a map's value, of plain numbers.
    unsafe { clear(&mut b.reclaim.inside) };
}

/// What was taken for a statement was none; nothing is left of one that was sent.
#[inline(never)]
pub fn give_back(b: &mut Backend) {
    for kind in 0..RECLAIM_KINDS {
        let inside = core::mem::take(&mut b.reclaim.inside[kind]);
        b.reclaim.outside[kind].add(&inside);
    }
}

/// The process has ended. A global function: the verifier looks at it by itself, and not again for each way there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn reclaim_exits(pid: u32) -> u32 {
    let Some(b) = targets::backend(pid) else { return 0 };
    if b.reclaim.outside[0].count | b.reclaim.outside[1].count == 0 {
        return 0;
    }
    emit::send(
        Reclaimed {
            header: emit::header::<Reclaimed>(b, now()),
            class_key: 0,
            start_ns: 0,
            flags: RECLAIM_OUTSIDE,
            _pad: 0,
            sums: b.reclaim.outside,
        },
        Lost::OtherRecords,
    );
    0
}
