//! `global/pg_control`: where the last checkpoint said that recovery begins. The file carries a checksum over all of it,
//! which proves both the reading and the layout.

use std::path::PathBuf;

use crc::{CRC_32_ISCSI, Crc};
use pgstrobe_common::fields::{ABSENT, UserFields};

use super::{binary::read_regular, patience::Domain, server::Server};

/// `PG_CONTROL_FILE_SIZE` (src/include/catalog/pg_control.h).
const SIZE: usize = 8192;
/// `pg_crc32c` (src/port/pg_crc32c_sb8.c) is CRC-32C.
const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// `DBState` (src/include/catalog/pg_control.h, 13 to 18).
const SHUT_DOWN: std::ops::RangeInclusive<u32> = 1..=3;
const IN_RECOVERY: std::ops::RangeInclusive<u32> = 4..=5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    state: u32,
    /// `XLogRecPtr` of the last checkpoint: recovery would begin there.
    pub redo: u64,
    /// When that checkpoint began, in seconds since the Unix epoch; a restartpoint has the time of the primary's.
    pub time_s: u64,
}

impl Control {
    /// Reads the file of a running server, whatever its container calls it: a postmaster's working directory is its data
    /// directory.
    pub fn read(server: &Server, fields: &UserFields) -> Option<Self> {
        let path = PathBuf::from(format!("/proc/{}/cwd/global/pg_control", server.cluster.postmaster_pid));
        let bytes = server.patience.within(Domain::Data, move || read_regular(&path, SIZE as u64))?;
        Self::parse(&bytes.ok()?, fields)
    }

    fn parse(bytes: &[u8], fields: &UserFields) -> Option<Self> {
        if fields.control_crc == ABSENT || bytes.len() != SIZE {
            return None;
        }
        let checked = bytes.get(..fields.control_crc as usize)?;
        let u32_at = |at: u32| bytes.get(at as usize..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        let u64_at = |at: u32| bytes.get(at as usize..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
        if CHECKSUM.checksum(checked) != u32_at(fields.control_crc)? {
            return None;
        }
        Some(Self {
            state: u32_at(fields.control_state)?,
            redo: u64_at(fields.control_redo)?,
            time_s: u64_at(fields.control_time)?,
        })
    }

    /// The server stops, or has stopped.
    pub fn shuts_down(&self) -> bool {
        SHUT_DOWN.contains(&self.state)
    }

    /// It replays the WAL of another server, or its own after a crash: its checkpoints are restartpoints.
    pub fn in_recovery(&self) -> bool {
        IN_RECOVERY.contains(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::layout;

    #[test]
    fn a_wrong_byte_is_noticed() {
        let fields = &layout::for_major(15).unwrap().user;
        let mut file = vec![0; SIZE];
        file[fields.control_redo as usize] = 0x28;
        file[fields.control_state as usize] = 6;
        file[fields.control_time as usize] = 9;
        let sum = CHECKSUM.checksum(&file[..fields.control_crc as usize]);
        file[fields.control_crc as usize..][..4].copy_from_slice(&sum.to_ne_bytes());
        let control = Control::parse(&file, fields).unwrap();
        assert_eq!(
            (control.redo, control.time_s, control.shuts_down(), control.in_recovery()),
            (0x28, 9, false, false)
        );
        file[100] ^= 1;
        assert_eq!(Control::parse(&file, fields), None);
        assert_eq!(Control::parse(&file[..100], fields), None);
        assert_eq!(CHECKSUM.checksum(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    }
}
