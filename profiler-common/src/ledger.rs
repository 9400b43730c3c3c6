//! The parts of a ledger as the kernel side counts them.
//!
//! A ledger splits the wall time of a backend into on-CPU, runnable and blocked. The blocked share is kept by the
//! `wait_event_info` word that Postgres itself had published when the backend left the CPU.

/// Blocked parts one statement can carry; what does not fit is summed into [`Ledger::other_ns`].
pub const PARTS: usize = 8;

/// Time blocked under one `wait_event_info`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Part {
    /// The raw `wait_event_info` of Postgres: class in the top byte, event below; 0 is "no wait event".
    pub wait_event_info: u32,
    /// How often the backend went to sleep under it.
    pub count: u32,
    /// How long it slept, without the time it then waited for a CPU, in nanoseconds.
    pub ns: u64,
}

/// The account of one stretch of a backend's life; on-CPU time is the wall time less everything here.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Time waiting for a CPU (woken or preempted), in nanoseconds.
    pub runnable_ns: u64,
    /// Blocked time that found no free part, in nanoseconds.
    pub other_ns: u64,
    /// Switches away from the CPU, of any kind.
    pub switches: u32,
    /// Sleeps summed into `other_ns`.
    pub other_count: u32,
    /// The blocked parts; unused ones have `count == 0`.
    pub parts: [Part; PARTS],
}

const _: () = assert!(size_of::<Part>() == 16);
const _: () = assert!(size_of::<Ledger>() == 24 + 16 * PARTS);
