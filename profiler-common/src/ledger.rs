//! The parts of a ledger as the kernel side counts them.
//!
//! A ledger splits the wall time of a backend into on CPU, interrupted, runnable and blocked. The blocked share is kept by
//! the `wait_event_info` word that Postgres itself had published when the backend left the CPU, and by what the kernel was
//! doing for it then.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Blocked parts one statement can carry; what does not fit is summed into [`Ledger::other_ns`].
pub const PARTS: usize = 12;

/// Time blocked under one `wait_event_info` in one context.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Part {
    /// The raw `wait_event_info` of Postgres: class in the top byte, event below; 0 is "no wait event".
    pub wait_event_info: u32,
    /// See [`crate::context`].
    pub context: u32,
    /// How often the backend went to sleep under it.
    pub count: u32,
    pub _pad: u32,
    /// How long it slept, without the time it then waited for a CPU, in nanoseconds.
    pub ns: u64,
}

impl Part {
    /// What a part is found by: its wait event, and its context in the upper half.
    #[inline(always)]
    pub const fn key(&self) -> u64 {
        self.wait_event_info as u64 | (self.context as u64) << 32
    }
}

/// The account of one stretch of a backend's life. All times are nanoseconds, and each is measured by itself: what they
/// do not sum to is unattributed.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ledger {
    /// On a CPU, at work.
    pub cpu_ns: u64,
    /// On a CPU that was taken by interrupts or by the hypervisor, as far as the kernel keeps account of that.
    pub interrupted_ns: u64,
    /// Waiting for a CPU after a sleep.
    pub woken_ns: u64,
    /// Waiting for a CPU after it was taken away.
    pub preempted_ns: u64,
    /// Waiting for its cgroup to be given CPU time again (CPU quota).
    pub throttled_ns: u64,
    /// Blocked time that found no free part.
    pub other_ns: u64,
    /// Switches away from the CPU, of any kind.
    pub switches: u32,
    /// Those that were no sleep.
    pub preemptions: u32,
    /// Waits for CPU time of the cgroup.
    pub throttles: u32,
    /// Sleeps summed into `other_ns`.
    pub other_count: u32,
    /// The blocked parts; unused ones have `count == 0`.
    pub parts: [Part; PARTS],
}

/// Wait events seen on a CPU that one statement can carry.
pub const SAMPLES: usize = 4;

/// How often a timer found a backend at work under a wait event. What finds no room is left out.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Sample {
    pub wait_event_info: u32,
    pub count: u32,
}

const _: () = assert!(size_of::<Part>() == 24);
const _: () = assert!(size_of::<Ledger>() == 64 + 24 * PARTS);
const _: () = assert!(size_of::<Sample>() == 8);
