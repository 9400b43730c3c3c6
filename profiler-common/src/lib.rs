//! The kernel-to-user interface of pgstrobe.
//!
//! Everything that crosses the boundary between the eBPF programs and the loader is defined here once, as plain
//! integers in `repr(C)` structs without padding, which `zerocopy` proves. Enumerations are decoded at the edge, by checked
//! conversions, never transmuted.
#![no_std]

/// Lets userspace read and write values of maps as plain bytes.
macro_rules! map_values {
    ($($value:ident),+) => {$(
        #[cfg(feature = "user")]
        // SAFETY: any bytes are a value, and all bytes of a value are set: the line below does not compile otherwise.
        unsafe impl aya::Pod for $value {}

        const _: () = $crate::plain::<$value>();
    )+};
}
pub(crate) use map_values;

const fn plain<T: zerocopy::FromBytes + zerocopy::IntoBytes>() {}

pub mod aio;
pub mod block;
pub mod cluster;
pub mod context;
pub mod faults;
pub mod fields;
pub mod files;
pub mod hits;
pub mod ledger;
pub mod lost;
pub mod perf;
pub mod reclaim;
pub mod record;
pub mod records;
pub mod shape;
pub mod state;
pub mod trace;
pub mod writeback;
