//! Page faults of backends. The kernel counts them in each task, and shows the counts in `/proc/PID/stat` (`minflt`, `majflt`)
//! and by `getrusage`. So no program runs at a fault: the counts are read where a statement begins and ends.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::Header;

/// Page faults, those in system calls included (`task_struct.min_flt` and `maj_flt`, `mm_account_fault` in mm/memory.c).
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct Faults {
    /// The page was in memory, or one of zeros or a copy was made.
    pub minor: u64,
    /// The page had to be read from a disk, or another fault was doing that.
    pub major: u64,
}

impl Faults {
    #[inline(always)]
    pub fn add(&mut self, other: Self) {
        self.minor = self.minor.wrapping_add(other.minor);
        self.major = self.major.wrapping_add(other.major);
    }

    /// What there is more than `before`; nothing where there is less.
    #[inline(always)]
    pub fn since(self, before: Self) -> Self {
        Self { minor: self.minor.saturating_sub(before.minor), major: self.major.saturating_sub(before.major) }
    }

    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Of one backend.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BackendFaults {
    /// The task's counts when accounting of it began: 0 at its fork.
    pub since: Faults,
    /// The task's counts when the open statement began, or the last one ended.
    pub mark: Faults,
    /// Of all statements that were sent.
    pub inside: Faults,
}

/// [`Faulted::flags`]: of the time outside statements, sent when the process ends.
pub const FAULTS_OUTSIDE: u32 = 1 << 31;

/// Record: page faults of a finished statement that had any, or of a process outside statements since accounting of it began.
/// Comes before the record of the statement or the exit.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Faulted {
    pub header: Header,
    /// As in [`crate::record::Finished`].
    pub class_key: u64,
    pub start_ns: u64,
    pub flags: u32,
    pub _pad: u32,
    pub faults: Faults,
}
