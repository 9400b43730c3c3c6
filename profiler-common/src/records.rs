//! Records of the ring buffer: the only list. Its numbers, the check of what is read, and the variants that userspace has
//! to handle derive from it.

use core::{fmt, mem::offset_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    aio::AioWake,
    faults::Faulted,
    files::{File, StatementIo, Truncated},
    reclaim::Reclaimed,
    record::{
        BatchHead, Checkpoint, Exec, Exit, Fork, Header, Pause, Ready, Statement, Sync, Text, Title, Wake, WalWritten,
    },
    trace::Traced,
};

/// A record of the ring buffer. It begins with a [`Header`] and has no padding; bytes may follow it.
pub trait Record: Copy + FromBytes + IntoBytes + Immutable + KnownLayout + 'static {
    /// The number by which [`Header::kind`] tells it.
    const KIND: u16;
}

/// A line of the table is a number, which is that of no other line, and a record.
macro_rules! records {
    ($($kind:literal => $record:ident,)+) => {
        $(
            impl Record for $record {
                const KIND: u16 = $kind;
            }

            const _: () = assert!(offset_of!($record, header) == 0);
        )+

        /// A record as it lies in the ring buffer, and the bytes that follow it.
        #[derive(Clone, Copy, Debug)]
        pub enum AnyRecord<'a> {
            $($record(&'a $record, &'a [u8]),)+
        }

        impl<'a> AnyRecord<'a> {
            /// What every record begins with.
            pub fn header(&self) -> Header {
                match self {
                    $(Self::$record(record, _) => record.header,)+
                }
            }

            /// Which record the bytes are, which must lie at a multiple of eight.
            ///
            /// # Errors
            /// They are none of the list, or less than one.
            pub fn read(bytes: &'a [u8]) -> Result<Self, Unreadable> {
                let unreadable = |kind| Unreadable { kind, len: bytes.len() };
                let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| unreadable(0))?;
                match header.kind {
                    $($kind => match $record::ref_from_prefix(bytes) {
                        Ok((record, rest)) => Ok(Self::$record(record, rest)),
                        Err(_) => Err(unreadable($kind)),
                    },)+
                    kind => Err(unreadable(kind)),
                }
            }
        }

        #[cfg(test)]
        mod tests {
            use super::*;

            /// Each record is read as itself, with what follows it, and one that is cut is refused.
            #[test]
            fn records_are_read_as_what_they_are() {
                let mut words = [0u64; 512];
                $({
                    let header = Header::of::<$record>(1, 7, 9);
                    words[..2].copy_from_slice(zerocopy::transmute_ref!(&header) as &[u64; 2]);
                    let size = size_of::<$record>();
                    let bytes = words.as_bytes();
                    let Ok(AnyRecord::$record(record, rest)) = AnyRecord::read(&bytes[..size + 3]) else {
                        panic!(stringify!($record is not read as itself));
                    };
                    assert_eq!((record.header, rest.len()), (header, 3));
                    assert!(AnyRecord::read(&bytes[..size - 1]).is_err());
                })+
            }

            #[test]
            fn what_is_no_record_is_refused() {
                for kind in [0, u64::from(u16::MAX)] {
                    assert!(AnyRecord::read([kind; 512].as_bytes()).is_err());
                }
                assert!(AnyRecord::read(&[]).is_err());
            }
        }
    };
}

records! {
    1 => Statement,
    2 => Fork,
    3 => Ready,
    4 => Exit,
    5 => Text,
    6 => Sync,
    7 => BatchHead,
    8 => Title,
    9 => Wake,
    10 => File,
    11 => StatementIo,
    12 => Truncated,
    13 => Pause,
    14 => WalWritten,
    15 => Checkpoint,
    16 => AioWake,
    17 => Reclaimed,
    18 => Traced,
    19 => Exec,
    20 => Faulted,
}

/// Bytes of the ring buffer that are no record of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What they say they are, 0 where they are too few to say so.
    pub kind: u16,
    pub len: usize,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in the ring buffer are no record of kind {}", self.len, self.kind)
    }
}
