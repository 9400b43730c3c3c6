//! Reads and writes of files, as the kernel side counts them: by file and type of backend, and by statement.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::{Header, PATH_PART_LEN, PATH_PARTS};

/// What a file is for, as far as the kernel side tells it from the last two names of its path. Statements keep their
/// reads and writes by it.
pub const CLASS_RELATION: u32 = 0;
/// Below a directory for temporary files.
pub const CLASS_TEMP: u32 = 1;
pub const CLASS_WAL: u32 = 2;
pub const CLASS_OTHER: u32 = 3;
pub const CLASSES: usize = 4;

/// Files kept apart.
pub const MAX_FILES: u32 = 16_384;

/// A file as seen by one type of backend. Inode numbers are given to the next file at once, and a WAL segment is recycled
/// under a new name: so the name belongs to the key.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FileKey {
    /// Address of its `struct inode`, 0 for a pool.
    pub inode: u64,
    /// Hash and length of its name, which the kernel mixes with the address of the directory.
    pub name: u64,
    /// `MyBackendType`, `u32::MAX` where it could not be read. It means another role in another version.
    pub backend_type: u32,
    /// Number of the pool, 0 for a file.
    pub pool: u16,
    /// Number of the server ([`crate::cluster`]).
    pub cluster: u16,
}

impl FileKey {
    /// What is not kept file by file: temporary files, and those of a class that found no room.
    pub const fn pool(cluster: u16, backend_type: u32, class: u32) -> Self {
        Self { inode: 0, name: 0, backend_type, pool: class as u16 + 1, cluster }
    }
}

macro_rules! sums {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident,)+ }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name { $($(#[$fdoc])* pub $field: u64,)+ }

        impl $name {
            /// Adds every sum.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)+
            }

            /// What it has more than `before`.
            pub fn since(&self, before: &Self) -> Self {
                Self { $($field: self.$field.wrapping_sub(before.$field),)+ }
            }
        }
    };
}

sums! {
    /// Calls on a file, their bytes, and their time from entry to return in nanoseconds.
    FileIo {
        reads,
        read_bytes,
        read_ns,
        /// Reads that asked the device for something, or slept until it gave what had been asked for before.
        device_reads,
        device_read_ns,
        /// Bytes asked of the device in reads and prefetches, read-ahead and metadata included.
        device_read_bytes,
        /// Announcements of a read to come (`POSIX_FADV_WILLNEED`).
        prefetches,
        writes,
        write_bytes,
        write_ns,
        /// Bytes given to the device before the write returned (`O_DIRECT`, `O_DSYNC`).
        device_write_bytes,
        /// Writes that had to read first what they changed in part.
        reading_writes,
        reading_write_ns,
        reading_write_bytes,
        /// Calls that made the file longer: those by write are in `writes` too.
        extends,
        extend_ns,
        /// Bytes beyond the old end.
        extend_bytes,
        truncates,
        truncate_bytes,
        /// Calls of any kind that returned an error.
        failed,
        /// The class of the file: no sum, always the same.
        class,
    }
}

sums! {
    /// What one statement does with files of one class; see [`FileIo`].
    ClassIo {
        reads,
        read_bytes,
        read_ns,
        device_reads,
        device_read_bytes,
        writes,
        write_bytes,
        write_ns,
        reading_write_bytes,
        extend_bytes,
    }
}

/// A call on a file under way.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FileCall {
    /// Its beginning, 0 while there is none.
    pub began_ns: u64,
    /// Address of the `struct file`.
    pub file: u64,
    pub inode: u64,
    /// As [`FileKey::name`].
    pub name: u64,
    /// Where it begins to write, or the length to cut to.
    pub position: u64,
    /// Length of the file at the beginning.
    pub size: u64,
    /// Length to allocate.
    pub len: u64,
    /// Address of the device that the first block request of the call was for: a device that hands its requests on to
    /// others would be counted again with each.
    pub device: u64,
    /// Bytes asked of that device, and given to it.
    pub device_read_bytes: u64,
    pub device_write_bytes: u64,
    /// Beginning and end of the call that ended last; 0 while the next one is under way.
    pub last_began_ns: u64,
    pub last_ended_ns: u64,
}

/// Record: a file was met for the first time under this key and name.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct File {
    pub header: Header,
    pub key: FileKey,
    /// As `st_dev` in the kernel: 12 bits of major above 20 bits of minor; 0 when unread.
    pub device: u32,
    pub _pad: u32,
    /// Names from the file upward to the root, zero-terminated; an empty one ends the path.
    pub path: [[u8; PATH_PART_LEN]; PATH_PARTS],
}

/// Longest path of a [`Truncated`] file, in bytes.
pub const TRUNCATED_LEN: usize = 128;

/// Record: a file was cut by its path, which is how Postgres empties the files of a relation that it drops.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Truncated {
    pub header: Header,
    /// As in [`FileKey`].
    pub backend_type: u32,
    /// What the call returned: negative is `-errno`.
    pub ret: i32,
    /// As given, zero-terminated: relative to the data directory.
    pub path: [u8; TRUNCATED_LEN],
}

/// [`StatementIo::flags`]: of a process without a client, from its fork to its exit.
pub const IO_OF_PROCESS: u32 = 1 << 31;

/// Record: what a finished statement read and wrote, or a process without a client from its fork to its exit. Comes before
/// the record of the statement or the exit.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StatementIo {
    pub header: Header,
    /// As in [`crate::record::Finished`].
    pub class_key: u64,
    pub flags: u32,
    pub _pad: u32,
    pub io: [ClassIo; CLASSES],
}

const _: () = assert!(size_of::<FileKey>() == 24);
const _: () = assert!(size_of::<FileIo>() == 21 * 8);
const _: () = assert!(size_of::<ClassIo>() == 10 * 8);
const _: () = assert!(size_of::<FileCall>() == 12 * 8);

crate::map_values!(FileKey, FileIo);
