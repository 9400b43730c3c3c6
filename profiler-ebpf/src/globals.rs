//! Maps and load-time settings.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use pgstrobe_common::{
    cluster::{CLASS_KEYS, ClassKey},
    files::{FileIo, FileKey, MAX_FILES},
    hits::Hit,
    lost::Lost,
    record::TEXT_LEN,
    state::{BACKEND_SLOTS, Backend, Settings, TEXT_BUFFERS},
};

/// Written by the loader before the load; frozen, so that the verifier sees constants.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::UNRESOLVED;

/// Reads one entry of the settings.
macro_rules! setting {
    ($($field:ident).+) => {
        $crate::globals::constant(&$crate::globals::settings().$($field).+)
    };
}
pub(crate) use setting;

/// The beginning of a program: counts the hit, and ends it where only the floor of the cost is wanted.
macro_rules! enter {
    ($kind:expr) => {
        if $crate::globals::setting!(empty) != 0 {
            return 0;
        }
        $crate::globals::hit($kind);
    };
}
pub(crate) use enter;

/// Volatile, so that the compiler does not take the unresolved value for granted.
#[inline(always)]
pub fn constant<T: Copy>(field: &'static T) -> T {
    // SAFETY: a reference is readable.
    unsafe { core::ptr::read_volatile(field) }
}

#[inline(always)]
pub const fn settings() -> &'static Settings {
    &SETTINGS
}

/// Backends by pid modulo the number of slots: every switch, send and receive of the machine looks here, and an array is
/// looked up in a tenth of the time of a hash map.
#[map]
pub static BACKENDS: Array<Backend> = Array::with_max_entries(BACKEND_SLOTS, 0);

/// Backends whose slot was taken when they came.
#[map]
pub static CROWDED: HashMap<u32, Backend> = HashMap::with_max_entries(4096, 0);

/// 1 once there was one in [`CROWDED`].
#[map]
pub static ANY_CROWDED: Array<u64> = Array::with_max_entries(1, 0);

/// A backend's state at its fork, too large for the stack: one for each of the two programs.
#[map]
pub static FRESH: PerCpuArray<Backend> = PerCpuArray::with_max_entries(2, 0);

/// Statement classes whose text was sent: [`TEXT_KNOWN`] or [`TEXT_WANTED`].
/// Not an LRU map: looking up in one costs twice as much. Userspace takes out what nobody uses. A class that finds no room is
/// counted, and shown without text.
#[map]
pub static CLASSES: HashMap<ClassKey, u32> = HashMap::with_max_entries(CLASS_KEYS, 0);

/// How many classes are at [`TEXT_WANTED`], of all servers.
#[map]
pub static WANTED: Array<u64> = Array::with_max_entries(1, 0);

/// Reads and writes by file and type of backend.
#[map]
pub static FILES: HashMap<FileKey, FileIo> = HashMap::with_max_entries(MAX_FILES, 0);

#[map]
pub static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(Lost::ALL.len() as u32, 0);

#[map]
pub static HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Hit::ALL.len() as u32, 0);

/// 4 MiB: half a second of statements at 40,000 a second. The loader may set another size.
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// A text on its way to the ring buffer: a `Text` record and its bytes.
#[repr(C)]
pub struct TextBuffer {
    /// Process whose text it holds.
    pub owner: u32,
    pub _pad: u32,
    pub record: pgstrobe_common::record::Text,
    pub bytes: [u8; TEXT_LEN],
}

/// [`TEXT_BUFFERS`] per CPU. A per-CPU map would be the natural form, but its values end at 32 KiB. The loader sets the
/// number of entries.
#[map]
pub static TEXTS: Array<TextBuffer> = Array::with_max_entries(TEXT_BUFFERS, 0);

/// This CPU's buffer of a kind (`TEXT_OF_`), for the text of a process, and where it lies in `TEXTS`.
#[inline(always)]
pub fn text_buffer(kind: u32, pid: u32) -> Option<(u32, &'static mut TextBuffer)> {
    // SAFETY: a helper without arguments.
    let cpu = unsafe { aya_ebpf::helpers::generated::bpf_get_smp_processor_id() };
    let slot = cpu * TEXT_BUFFERS + kind;
    // SAFETY: the kernel does not enter a program twice on a CPU, and where it does (uprobes), `intact` tells.
    let buffer = TEXTS.get_ptr_mut(slot).map(|buffer| unsafe { &mut *buffer })?;
    // SAFETY: a reference. Volatile, because another task may come in between.
    unsafe { core::ptr::write_volatile(&mut buffer.owner, pid) };
    Some((slot, buffer))
}

impl TextBuffer {
    /// Whether the buffer still holds what this process put there. If not, it is spoilt for the other one too.
    #[inline(always)]
    pub fn intact(&mut self, pid: u32) -> bool {
        // SAFETY: a reference.
        let intact = unsafe { core::ptr::read_volatile(&self.owner) } == pid;
        if !intact {
            // SAFETY: as above; no process has the number 0.
            unsafe { core::ptr::write_volatile(&mut self.owner, 0) };
            lost(Lost::ReadFailed);
        }
        intact
    }
}

#[inline(always)]
pub fn hit(kind: Hit) {
    if let Some(n) = HITS.get_ptr_mut(kind as u32) {
        // SAFETY: a per-CPU slot.
        unsafe { *n += 1 };
    }
}

#[inline(always)]
pub fn lost(reason: Lost) {
    lost_many(reason, 1);
}

#[inline(always)]
pub fn lost_many(reason: Lost, count: u64) {
    if let Some(n) = LOST.get_ptr_mut(reason as u32) {
        // SAFETY: a per-CPU slot.
        unsafe { *n += count };
    }
}

#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { aya_ebpf::helpers::generated::bpf_ktime_get_ns() }
}
