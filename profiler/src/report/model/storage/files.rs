//! Of the report: reads and writes by file kind, relation and statement class.

use serde::{Deserialize, Serialize};

use crate::vocabulary::{FileKind, Fork, Role, Word};

/// Calls on files of the cluster's processes, from entry to return.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Files {
    /// By type of backend and file, most time first. Temporary files are kept together.
    pub by: Vec<FileBy>,
    /// By relation and fork, over all types of backends and all segments, most time first.
    pub relations: Vec<RelationIo>,
    /// Whether the server reads by io_uring too, which is not seen.
    pub io_uring: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FileBy {
    pub role: Word<Role>,
    /// As in [`FsyncBy`](crate::report::model::FsyncBy).
    pub file_kind: Word<FileKind>,
    /// Below the data directory where it lies there, else as far as it is known; `(all)` for temporary files, `(other)`
    /// for what found no room.
    pub file: String,
    pub io: FileIo,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RelationIo {
    /// OIDs as its path shows them: none for what all databases share, and where it cannot be told which tablespace a
    /// directory outside the data directory is.
    pub database: Option<u32>,
    pub tablespace: Option<u32>,
    pub relfilenode: u32,
    /// `main`, `fsm`, `vm` or `init`.
    pub fork: Word<Fork>,
    /// It is a temporary table.
    pub temporary: bool,
    /// As `schema.table`, where it is known.
    pub name: Option<String>,
    /// Of all its segments at the end, of those relations that took most time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    pub io: FileIo,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! sums {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(default)]
        pub struct $name {
            $($(#[$fdoc])* #[serde(skip_serializing_if = "is_default")] pub $field: u64,)+
        }

        impl $name {
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)+
            }
        }
    };
}

sums! {
    /// Calls and what they moved; what is zero is left out. See docs/design/files.md.
    FileIo {
        reads,
        read_bytes,
        read_ns,
        /// Reads that asked the device for something, or slept until it gave what had been asked for before.
        device_reads,
        /// Time of those.
        device_read_ns,
        /// Bytes that reads and prefetches asked of the device: read-ahead and metadata included, so they may be more
        /// than `read_bytes`.
        device_read_bytes,
        /// Announcements of a read to come (`effective_io_concurrency`).
        prefetches,
        writes,
        write_bytes,
        write_ns,
        /// Bytes given to the device before the write returned.
        device_write_bytes,
        /// Writes that had to read from the device first, because they changed a part of a block.
        read_before_writes,
        read_before_write_ns,
        read_before_write_bytes,
        /// Calls that made the file longer: those by write are among `writes` too.
        extends,
        extend_ns,
        extend_bytes,
        /// Cut to a shorter length: when a relation is dropped or truncated, too.
        truncates,
        /// What was cut off, but for files that were cut by their path (those of dropped relations).
        truncate_bytes,
        /// Calls that returned an error.
        failed,
    }
}

sums! {
    /// As in [`FileIo`], of one class of file. Times of parallel workers are added.
    ClassIo {
        reads,
        read_bytes,
        read_ns,
        device_reads,
        device_read_bytes,
        writes,
        write_bytes,
        write_ns,
        read_before_write_bytes,
        extend_bytes,
    }
}

/// What statements read and wrote, by class of file.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct StatementIo {
    /// Tables and indexes with their forks.
    #[serde(skip_serializing_if = "is_default")]
    pub relation: ClassIo,
    /// Temporary files (not temporary tables). `extend_bytes` is their size.
    #[serde(skip_serializing_if = "is_default")]
    pub temp: ClassIo,
    #[serde(skip_serializing_if = "is_default")]
    pub wal: ClassIo,
    #[serde(skip_serializing_if = "is_default")]
    pub other: ClassIo,
}
