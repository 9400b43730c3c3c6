//! Asynchronous I/O of PostgreSQL 18: waits for what another process reads.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::Header;

/// [`AioWake::flags`]: the read asked a block device, or waited for one.
pub const AIO_FROM_DEVICE: u32 = 1;

/// Record: a process ended another one's wait for an asynchronous read (`IO:AioIoCompletion`). An io worker does that right
/// after the read. Times are `CLOCK_MONOTONIC` in nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AioWake {
    /// The sleeper, and when it was woken.
    pub header: Header,
    /// Who woke it.
    pub waker: u32,
    /// `AIO_` flags.
    pub flags: u32,
    /// How long it had waited.
    pub waited_ns: u64,
    /// Start of the sleeper's statement, 0 outside one.
    pub start_ns: u64,
    /// The last call on a file of the waker: its beginning, 0 when there is none, and its end.
    pub call_began_ns: u64,
    pub call_ended_ns: u64,
}
