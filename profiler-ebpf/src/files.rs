//! Reads, writes, extends and truncates of files: how many bytes, how long, and whether the page cache had them.
//!
//! A call is timed from its entry to its return. Numbers are added to the file's entry in `FILES`, and to those of the open
//! statement: whose they are, what a file is for, and what a call adds is told here.

use pgstrobe_common::{
    context,
    files::{
        CLASS_OTHER, CLASS_RELATION, CLASS_TEMP, CLASS_WAL, CLASSES, File as FileRecord, FileCall, FileIo, FileKey,
        TRUNCATED_LEN, Truncated,
    },
    lost::Lost,
    state::{BACKEND_IO, BACKEND_OPEN, BACKEND_SLEPT, BACKEND_STARTING, Backend},
};

use crate::{
    clusters, emit,
    globals::{FILES, lost, now},
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

/// include/uapi/linux/stat.h.
const S_IFMT: u32 = 0o170000;
const S_IFREG: u32 = 0o100000;

/// Where a call begins in its file; matters to what may make the file longer.
pub enum At {
    Offset(u64),
    /// At its end.
    End,
    /// Where the call before ended.
    Position,
}

/// The end of the call before may have been left out.
#[inline(always)]
pub fn forget_call(b: &mut Backend) {
    b.file_call.began_ns = 0;
}

/// A call begins; `len` is how much it allocates.
#[inline(always)]
pub fn begins(b: &mut Backend, file: File, call: u32, at: At, len: u64) {
    let Some(inode) = file.inode() else { return };
    let name = file.name_hash();
    let new = &mut b.file_call;
    // Mostly the same file as before.
    if (inode.0 != new.inode || name != new.name) && inode.mode() & S_IFMT != S_IFREG {
        return;
    }
    // SAFETY: a field of a map's value, of plain numbers.
    unsafe { instructions::clear(new) };
    new.file = file.0;
    new.inode = inode.0;
    new.name = name;
    if call != READ && call != PREFETCH {
        new.size = inode.size();
        new.position = match at {
            At::Offset(offset) => offset,
            At::End => new.size,
            At::Position => file.position(),
        };
        new.len = len;
    }
    new.began_ns = now();
}

/// The call under way returns.
#[inline(always)]
pub fn ends(b: &mut Backend, call: u32, ret: i64, now: u64) {
    let began = core::mem::take(&mut b.file_call.began_ns);
    (b.file_call.last_began_ns, b.file_call.last_ended_ns) = (began, now);
    let who = backend_type(b);
    if let Some(io) = entry(b.cluster, &b.file_call, who) {
        count(b, io, Returned { call, began, ns: now - began, ret }, who);
    }
}

/// A file is to be cut by its path, which is in user memory.
#[inline(always)]
pub fn begins_to_cut(b: &mut Backend, path: u64) {
    let new = &mut b.file_call;
    // SAFETY: a field of a map's value, of plain numbers.
    unsafe { instructions::clear(new) };
    new.name = path;
    new.began_ns = now();
}

/// It was cut, or could not be.
#[inline(always)]
pub fn has_cut(b: &mut Backend, ret: i32) {
    if core::mem::take(&mut b.file_call.began_ns) == 0 {
        return;
    }
    emit::build(emit::header::<Truncated>(b, now()), Lost::OtherRecords, |record: &mut Truncated| {
        record.backend_type = postgres::backend_type(b);
        record.ret = ret;
        // A path that cannot be read is empty.
        let path: &mut [u8; TRUNCATED_LEN] = &mut record.path;
        postgres::string(b.file_call.name, path);
    });
}

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
struct Returned {
    call: u32,
    began: u64,
    ns: u64,
    ret: i64,
}

/// Adds a call of a type of backend.
#[inline(always)]
fn count(b: &mut Backend, io: &FileIo, returned: Returned, who: u32) {
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
fn entry(cluster: u32, call: &FileCall, who: u32) -> Option<&'static FileIo> {
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
