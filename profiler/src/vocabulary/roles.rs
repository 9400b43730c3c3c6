//! Who somebody is: processes of a server, those that hold up others, owners of requests.

use super::vocabulary;

vocabulary! {
    /// The purpose of a process of a server; where `pg_stat_activity.backend_type` has a name for it, that one.
    #[derive(Default)]
    Role {
        ClientBackend "client backend",
        ParallelWorker "parallel worker",
        Checkpointer "checkpointer",
        BackgroundWriter "background writer",
        WalWriter "walwriter",
        Archiver "archiver",
        Startup "startup",
        WalSender "walsender",
        WalReceiver "walreceiver",
        AutovacuumLauncher "autovacuum launcher",
        AutovacuumWorker "autovacuum worker",
        LogicalLauncher "logical replication launcher",
        /// Applies, or copies the first state of, a logical subscription.
        LogicalWorker "logical replication worker",
        /// 18 and later.
        IoWorker "io worker",
        /// 17 and later.
        WalSummarizer "walsummarizer",
        /// 17 and later.
        SlotsyncWorker "slotsync worker",
        /// Any other background worker: an extension's.
        BackgroundWorker "background worker",
        Postmaster "postmaster",
        Logger "logger",
        /// 14 and earlier.
        StatsCollector "stats collector",
        /// No process: a transaction that is prepared and keeps its locks.
        PreparedTransaction "prepared transaction",
        /// Of several roles: what found no room for a row of its own.
        Other "other",
        #[default]
        Unknown "unknown",
    }
}

vocabulary! {
    /// How somebody stands whom others wait for.
    #[derive(Default)]
    BlockerState {
        /// In a statement.
        Active "active",
        /// Also when it had been idle until the statement that released the lock.
        IdleInTransaction "idle in transaction",
        /// The same after an error in the transaction.
        IdleInFailedTransaction "idle in transaction (aborted)",
        /// In no transaction.
        Idle "idle",
        /// It holds nothing, but stands before the others in the queue.
        Waiting "waiting",
        /// A prepared transaction.
        Prepared "prepared",
        #[default]
        Unknown "unknown",
    }
}

vocabulary! {
    /// What kind of owner a request to a block device has.
    OwnerKind {
        /// A process of the cluster.
        Backend "backend",
        /// Any other process.
        Process "process",
        /// A worker of the kernel, which works for somebody else.
        KernelWorker "kernel worker",
        /// A thread of the kernel of its own purpose.
        KernelThread "kernel thread",
        /// The beginning of the request was not seen.
        Unseen "unseen",
        /// No room for a row of its own.
        Folded "folded",
    }
}
