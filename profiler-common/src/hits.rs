//! What programs count their runs under: the only list.

/// A line of the table is a kind of programs. The number of a kind is its index into the per-CPU counters of the map `HITS`.
macro_rules! hits {
    ($($(#[$doc:meta])+ $kind:ident,)+) => {
        /// Which programs ran.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Hit {
            $($(#[$doc])+ $kind,)+
        }

        impl Hit {
            /// Every kind, in the order of their numbers.
            pub const ALL: [Self; [$(stringify!($kind)),+].len()] = [$(Self::$kind),+];
        }
    };
}

hits! {
    /// A task left a CPU for another one.
    Switch,
    /// Data was received on a socket, or asked for in vain.
    Receive,
    /// Data was sent on a socket.
    Send,
    /// A process was forked.
    Fork,
    /// A process ended.
    Exit,
    /// A call that only makes data durable was entered or left.
    Sync,
    /// A function of the server's message loop was entered.
    Entry,
    /// A timer fired on a CPU.
    Sample,
    /// A task is about to be woken.
    Wake,
    /// A task has to wait for memory, or to free some.
    Memory,
    /// A step of a block request.
    Block,
    /// A call on a file other than a write was entered or left, or one asked a block device for something.
    File,
    /// A step of the kernel's flusher, or a wait for a page that is being written.
    Writeback,
    /// A write was entered or left, which may make the data durable too.
    Write,
}
