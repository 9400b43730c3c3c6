//! What a call on a file asks of a block device, which comes in the context of the one who asks.

use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};
use pgstrobe_common::hits::Hit;

use crate::{
    globals::{enter, setting},
    kernel::Bio,
    targets,
};

/// `(struct bio *bio)`, before 5.11 `(struct request_queue *q, struct bio *bio)` (include/trace/events/block.h): a block
/// request, in the context of the one who makes it.
#[btf_tracepoint(function = "block_bio_queue")]
pub fn block_bio_queue(ctx: BtfTracePointContext) -> i32 {
    enter!(Hit::File);
    let Some(b) = targets::current() else { return 0 };
    let call = &mut b.file_call;
    if call.began_ns == 0 {
        return 0;
    }
    // Volatile: of one load in each branch the compiler would make one of a computed place, which the verifier refuses.
    // SAFETY: the first argument is always there.
    let first = unsafe { ctx.as_ptr().cast::<*const u8>().read_volatile() };
    let bio = Bio::argument(if setting!(bio_second) != 0 { ctx.arg(1) } else { first });
    let Some((operation, bytes)) = bio.request() else { return 0 };
    let device = bio.device();
    if call.device == 0 {
        call.device = device;
    }
    if call.device != device {
        return 0;
    }
    match operation {
        Bio::READ => call.device_read_bytes += bytes,
        Bio::WRITE => call.device_write_bytes += bytes,
        _ => {}
    }
    0
}
