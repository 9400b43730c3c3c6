//! The sums of files: whose they are, what a file is for, and what a call adds.

use pgstrobe_common::{
    context,
    files::{
        CLASS_OTHER, CLASS_RELATION, CLASS_TEMP, CLASS_WAL, CLASSES, File as FileRecord, FileCall, FileIo, FileKey,
    },
    lost::Lost,
    state::{BACKEND_IO, BACKEND_OPEN, BACKEND_SLEPT, BACKEND_STARTING, Backend},
};

use crate::{
    clusters, emit,
    globals::{FILES, lost},
    instructions,
    kernel::{File, Inode},
    postgres, targets,
};

/// `BPF_NOEXIST` (include/uapi/linux/bpf.h).
const NOEXIST: u64 = 1;

/// Kinds of calls.
pub const READ: u32 = 1;
pub const PREFETCH: u32 = 2;
pub const WRITE: u32 = 3;
pub const ALLOCATE: u32 = 4;
pub const TRUNCATE: u32 = 5;

/// `MyBackendType`, read only while it may change, which is up to the end of start-up.
#[inline(always)]
pub fn backend_type(b: &mut Backend) -> u32 {
    if b.flags & BACKEND_STARTING == 0 && b.backend_type != u32::MAX {
        return b.backend_type;
    }
    let now = postgres::backend_type(b);
    if b.flags & BACKEND_STARTING == 0 {
        b.backend_type = now;
    }
    now
}

#[inline(always)]
fn is_client(b: &Backend, backend_type: u32) -> bool {
    clusters::of(b).is_some_and(|cluster| postgres::is_client(cluster, backend_type))
}

/// A call that has returned.
pub struct Returned {
    pub call: u32,
    pub began: u64,
    pub ns: u64,
    pub ret: i64,
}

/// Adds a call of a type of backend.
#[inline(always)]
pub fn count(b: &mut Backend, io: &FileIo, returned: Returned, who: u32) {
    if returned.ret < 0 {
        add(&io.failed, 1);
        return;
    }
    let (bytes, ns) = (returned.ret as u64, returned.ns);
    let call = &b.file_call;
    let class = (io.class as usize) & (CLASSES - 1);
    // Whose work it is: of the open statement, or of a process that has none, as a parallel worker.
    let own = b.flags & BACKEND_OPEN != 0 || b.flags & BACKEND_STARTING != 0 && !is_client(b, who);
    // It may have slept until another's request, or its own earlier one, was done.
    let waited = b.off_ns >= returned.began && b.flags & BACKEND_SLEPT != 0 && b.context & context::IOWAIT != 0;
    if own {
        b.flags |= BACKEND_IO;
    }
    let sum = &mut b.io[class];
    match returned.call {
        READ => {
            let device = waited || call.device_read_bytes != 0;
            add(&io.reads, 1);
            add(&io.read_bytes, bytes);
            add(&io.read_ns, ns);
            if device {
                add(&io.device_reads, 1);
                add(&io.device_read_ns, ns);
                add(&io.device_read_bytes, call.device_read_bytes);
            }
            if own {
                sum.reads += 1;
                sum.read_bytes += bytes;
                sum.read_ns += ns;
                sum.device_reads += device as u64;
                sum.device_read_bytes += call.device_read_bytes;
            }
        }
        PREFETCH => {
            add(&io.prefetches, 1);
            if call.device_read_bytes != 0 {
                add(&io.device_read_bytes, call.device_read_bytes);
            }
            if own {
                sum.device_read_bytes += call.device_read_bytes;
            }
        }
        WRITE => {
            let end = call.position + bytes;
            let longer = end.saturating_sub(call.size);
            add(&io.writes, 1);
            add(&io.write_bytes, bytes);
            add(&io.write_ns, ns);
            if call.device_write_bytes != 0 {
                add(&io.device_write_bytes, call.device_write_bytes);
            }
            if call.device_read_bytes != 0 {
                add(&io.reading_writes, 1);
                add(&io.reading_write_ns, ns);
                add(&io.reading_write_bytes, call.device_read_bytes);
            }
            // What begins beyond the end leaves a hole, which is none of the bytes written.
            let longer = if longer < bytes { longer } else { bytes };
            extended(io, longer, ns);
            if own {
                sum.writes += 1;
                sum.write_bytes += bytes;
                sum.write_ns += ns;
                sum.reading_write_bytes += call.device_read_bytes;
                sum.extend_bytes += longer;
            }
        }
        ALLOCATE => {
            let longer = (call.position + call.len).saturating_sub(call.size);
            extended(io, longer, ns);
            if own {
                sum.extend_bytes += longer;
            }
        }
        _ => {
            add(&io.truncates, 1);
            add(&io.truncate_bytes, call.size.saturating_sub(call.position));
        }
    }
}

#[inline(always)]
fn extended(io: &FileIo, longer: u64, ns: u64) {
    if longer != 0 {
        add(&io.extends, 1);
        add(&io.extend_ns, ns);
        add(&io.extend_bytes, longer);
    }
}

/// Backends of one type share an entry.
#[inline(always)]
fn add(sum: &u64, n: u64) {
    instructions::add(sum, n);
}

/// The entry of the file of a call, made when it is met for the first time; none for what lies in no directory.
#[inline(always)]
pub fn entry(cluster: u32, call: &FileCall, who: u32) -> Option<&'static FileIo> {
    let cluster = cluster as u16;
    let key = FileKey { inode: call.inode, name: call.name, backend_type: who, pool: 0, cluster };
    if let Some(io) = known(&key) {
        return Some(io);
    }
    match first_call_on_file(who) {
        OWN_ENTRY => known(&key),
        0 => None,
        class => known(&FileKey::pool(cluster, who, class - 1)),
    }
}

/// Of [`first_call_on_file`]: the file has an entry.
const OWN_ENTRY: u32 = u32::MAX;

/// Makes the entry of a file that is met for the first time. Returns [`OWN_ENTRY`], the class of the pool that takes its
/// numbers plus 1, or 0 where the call is not counted. A global function: the verifier looks at it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn first_call_on_file(who: u32) -> u32 {
    let Some(b) = targets::current() else { return 0 };
    let cluster = b.cluster as u16;
    let call = &b.file_call;
    let Some(class) = class(call) else { return 0 };
    // Temporary files come and go by the thousand: they are kept together.
    if class == CLASS_TEMP {
        return pool(cluster, who, class);
    }
    let key = FileKey { inode: call.inode, name: call.name, backend_type: who, pool: 0, cluster };
    if FILES.insert(&key, FileIo { class: class as u64, ..FileIo::default() }, NOEXIST).is_err() {
        // Another one of this type was faster, or there is no room.
        if known(&key).is_some() {
            return OWN_ENTRY;
        }
        lost(Lost::FilesFull);
        return pool(cluster, who, class);
    }
    let header = emit::header::<FileRecord>(b, call.began_ns);
    let sent = emit::build(header, Lost::OtherRecords, |record: &mut FileRecord| {
        record.key = key;
        record.device = Inode(call.inode).device();
        record._pad = 0;
        // Parts that are not read begin with a zero.
        if !File(call.file).path(&mut record.path) {
            lost(Lost::FileName);
        }
    });
    if !sent {
        let _ = FILES.remove(&key);
        return pool(cluster, who, class);
    }
    OWN_ENTRY
}

#[inline(always)]
fn known(key: &FileKey) -> Option<&'static FileIo> {
    // SAFETY: changed by atomic additions alone.
    FILES.get_ptr(key).map(|io| unsafe { &*io })
}

/// Makes sure of the pool of a class; the class plus 1.
#[inline(always)]
fn pool(cluster: u16, who: u32, class: u32) -> u32 {
    let key = FileKey::pool(cluster, who, class);
    if known(&key).is_none() {
        let _ = FILES.insert(&key, FileIo { class: class as u64, ..FileIo::default() }, NOEXIST);
        if known(&key).is_none() {
            lost(Lost::FilesFull);
        }
    }
    class + 1
}

/// What a file is for, by its name and that of its directory; none for what lies in no directory.
#[inline(always)]
fn class(call: &FileCall) -> Option<u32> {
    /// Names of WAL segments (src/include/access/xlog_internal.h).
    const WAL_NAME: u32 = 24;
    const PREFIX: u64 = u64::from_le_bytes(*b"pgsql_tm");
    let (name, directory) = File(call.file).names()?;
    let (first, above) = (u64::from_le_bytes(name), u64::from_le_bytes(directory));
    if first == PREFIX || above == PREFIX {
        return Some(CLASS_TEMP);
    }
    let in_wal = above & 0x00ff_ffff_ffff_ffff == u64::from_le_bytes(*b"pg_wal\0\0")
        || above == u64::from_le_bytes(*b"pg_xlog\0");
    // The directory may be a link to one of another name.
    if in_wal || (call.name >> 32) as u32 == WAL_NAME && (name[0].is_ascii_digit() || name[0].wrapping_sub(b'A') < 6) {
        return Some(CLASS_WAL);
    }
    let global = above & 0x00ff_ffff_ffff_ffff == u64::from_le_bytes(*b"global\0\0");
    let number = name[0].is_ascii_digit() || name[0] == b't' && name[1].is_ascii_digit();
    let relation = number && (global || directory[0].is_ascii_digit());
    Some(if relation { CLASS_RELATION } else { CLASS_OTHER })
}
