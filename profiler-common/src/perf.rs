//! How an event is asked for from perf (include/uapi/linux/perf_event.h).

/// `struct perf_event_attr` up to `config2` (`PERF_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Default)]
pub struct EventAttr {
    pub kind: u32,
    /// [`EventAttr::SIZE`].
    pub size: u32,
    pub config: u64,
    pub sample_period: u64,
    pub sample_type: u64,
    pub read_format: u64,
    pub flags: u64,
    pub wakeup: u32,
    pub bp_type: u32,
    pub config1: u64,
    pub config2: u64,
}

impl EventAttr {
    pub const SIZE: u32 = size_of::<Self>() as u32;
    pub const TRACEPOINT: u32 = 2;
    /// In `flags`: it is switched off.
    pub const DISABLED: u64 = 1;
}

/// The descriptor does not pass to other programs.
pub const FD_CLOEXEC: u64 = 8;

const _: () = assert!(EventAttr::SIZE == 72);
