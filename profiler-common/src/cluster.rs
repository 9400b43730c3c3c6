//! What the kernel side knows of one server (a cluster, in Postgres's words): where its variables are, and what the numbers of
//! its version mean.
//!
//! Servers of several versions are profiled with one load of the programs. So this is no constant of the load but an entry of
//! the array map `CLUSTERS`, and a backend carries the number of its entry.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::fields::{PgFields, PgSymbols};

/// Servers profiled at once.
pub const MAX_CLUSTERS: u32 = 64;

/// In place of a server's number: of no server, or of the whole host.
pub const NO_CLUSTER: u16 = u16::MAX;

const _: () = assert!(MAX_CLUSTERS < NO_CLUSTER as u32);

/// One server. Written by the loader before its backends are known by its number, and changed when its postmaster is
/// replaced.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Cluster {
    pub symbols: PgSymbols,
    pub fields: PgFields,
    /// 1 while a cgroup of the server has a CPU quota.
    pub quota: u32,
    /// `track_activity_query_size`: longest activity string with its terminating zero, in bytes.
    pub activity_size: u32,
    /// `MyBackendType` values of its version: client backend, walsender; `u32::MAX` where unknown.
    pub backend_type_client: u32,
    pub backend_type_walsender: u32,
    /// `STATE_RUNNING` of its version, `u32::MAX` where unknown.
    pub state_running: u32,
    /// Wait events in which one backend does the work of others and wakes them (group updates), and `SyncRep`, beside
    /// those of the classes `LWLock`, `Lock` and `BufferPin`; 0 for none.
    pub waits_for_others: [u32; 3],
    /// Wait event in which a backend waits for a read of another process (18 and later); 0 for none.
    pub wait_for_aio: u32,
    pub _pad: u32,
}

impl Default for Cluster {
    fn default() -> Self {
        Self::UNRESOLVED
    }
}

impl Cluster {
    /// Nothing is known: all that needs an address or an offset does nothing.
    pub const UNRESOLVED: Self = Self {
        symbols: PgSymbols::UNRESOLVED,
        fields: PgFields::UNRESOLVED,
        quota: 0,
        activity_size: 1024,
        backend_type_client: u32::MAX,
        backend_type_walsender: u32::MAX,
        state_running: u32::MAX,
        waits_for_others: [0; 3],
        wait_for_aio: 0,
        _pad: 0,
    };
}

/// Statement classes of all servers of which the kernel side knows whether their text was sent. pgstrobe forgets those that nobody
/// used for longest before they are as many.
pub const CLASS_KEYS: u32 = 32_768;

/// The class's text is in userspace.
pub const TEXT_KNOWN: u32 = 1;
/// Only a cut text is: the whole one is wanted, and taken from a backend at work.
pub const TEXT_WANTED: u32 = 2;
/// A backend is about to send it: until it has, another one's statement would come before the text, and be of no class.
pub const TEXT_UNDER_WAY: u32 = 3;

/// A statement class of one server. Two servers may have a query of the same id, or run the same text; each needs that text by
/// itself. A key of 16 bytes and not the two mixed into 8: then no two can meet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ClassKey {
    /// Query id or shape hash.
    pub key: u64,
    /// Number of the server.
    pub cluster: u64,
}

const _: () = assert!(size_of::<ClassKey>() == 16);

crate::map_values!(Cluster, ClassKey);
