//! Files of a server, the calls on them, and requests to devices.

use super::vocabulary;

vocabulary! {
    /// What a request asks a block device for.
    Operation {
        Read "read",
        Write "write",
        /// The device's cache is to be written; one may serve several who asked for it.
        Flush "flush",
        /// Somebody asks for a flush without writing, and waits until it is done.
        Sync "sync",
        Discard "discard",
        Other "other",
    }
}

vocabulary! {
    /// What a file of a server is for.
    FileKind {
        /// A segment of the log.
        Wal "wal",
        /// History of timelines, and of backups.
        WalHistory "wal_history",
        /// Marks of the archiver.
        WalStatus "wal_status",
        /// 17 and later.
        WalSummary "wal_summary",
        /// A table or an index: its main fork.
        Relation "relation",
        /// Free space map.
        Fsm "fsm",
        /// Visibility map.
        Vm "vm",
        /// What an unlogged relation is reset to.
        Init "init",
        /// Status of transactions, multixacts, subtransactions, notifications.
        Slru "slru",
        /// `pg_control`.
        Control "control",
        /// Which file is which system catalog.
        Relmap "relmap",
        /// Cache of the system catalogs.
        Relcache "relcache",
        /// A replication slot.
        Slot "slot",
        /// State of logical decoding.
        Logical "logical",
        /// An exported snapshot.
        Snapshot "snapshot",
        /// A temporary file (not a temporary table).
        Temp "temp",
        /// A prepared transaction.
        TwoPhase "twophase",
        /// Statistics.
        Stat "stat",
        Directory "directory",
        Lockfile "lockfile",
        Config "config",
        Log "log",
        Socket "socket",
        SharedMemory "shared_memory",
        Other "other",
    }
}

vocabulary! {
    /// A fork of a relation (src/common/relpath.c).
    Fork {
        Main "main",
        /// Free space map.
        Fsm "fsm",
        /// Visibility map.
        Vm "vm",
        /// What an unlogged relation is reset to.
        Init "init",
    }
}

vocabulary! {
    /// A system call that makes data durable.
    SyncCall {
        Fsync "fsync",
        Fdatasync "fdatasync",
        SyncFileRange "sync_file_range",
        Msync "msync",
        /// A write that is itself a sync: to a file opened with `O_SYNC` or `O_DSYNC`.
        Write "write",
        Unknown "unknown",
    }
}

vocabulary! {
    /// Why a checkpoint began.
    CheckpointCause {
        /// So much was written since the last one (`max_wal_size`).
        Wal "wal",
        /// `checkpoint_timeout`.
        Time "time",
        /// CHECKPOINT, a base backup, CREATE DATABASE, …
        Requested "requested",
        Shutdown "shutdown",
        Unknown "unknown",
    }
}
