//! What can be lost on the kernel side: the only list. Every output shows all of it, zeros included.

/// A line of the table is a reason, and its name in the report. The number of a reason is its index into the per-CPU
/// counters of the map `LOST`, so the order of lines is that of the report.
macro_rules! lost {
    ($($(#[$doc:meta])+ $reason:ident => $name:literal,)+) => {
        /// Why something was lost.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Lost {
            $($(#[$doc])+ $reason,)+
        }

        impl Lost {
            /// Every reason, in the order of their numbers.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$reason),+];

            /// The name in the report.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }
        }
    };
}

lost! {
    /// The end of a statement, a sync or a process found no room in the ring buffer.
    RingFull => "ring_buffer_full",
    /// A backend found no room in the maps of backends.
    BackendsFull => "backends_map_full",
    /// A read of a backend's memory failed.
    ReadFailed => "memory_read_failed",
    /// A text found no room in the ring buffer; it is sent again at the next sight of its class.
    Text => "text_ring_full",
    /// A file's name could not be read.
    FileName => "file_name_unread",
    /// A statement class found no room in the `CLASSES` map: its text is not shown.
    ClassesFull => "classes_map_full",
    /// A block request found no room in the map of requests.
    BlockRequests => "block_requests_map_full",
    /// A file found no room in the map of files.
    FilesFull => "files_map_full",
    /// Writeback of a device, or a pause of a backend, found no room in its map.
    WritebackFull => "writeback_map_full",
    /// A record that is not the end of a statement, a sync or a process found no room in the ring buffer: of a fork, a
    /// file, a wake-up, a checkpoint, or of what a statement read and wrote.
    OtherRecords => "other_records_ring_full",
    /// A block request that was to be sent by itself found no room in the ring buffer.
    Traced => "traced_requests_ring_full",
}
