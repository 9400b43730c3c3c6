//! What each process wrote to the WAL: `pgWalUsage`, an exported variable in the memory of every process of the server
//! (src/backend/executor/instrument.c, 13 to 18). `XLogInsertRecord` adds every record to it, and `pg_stat_wal` is the sum
//! of the same numbers. It only grows.
//!
//! The leader of a parallel statement adds what its workers wrote to its own (`InstrAccumParallelQuery`), so that workers
//! are not to be added to it.

use pgstrobe_common::{
    fields::{ABSENT, UserFields},
    record::WAL_USAGE_LEN,
};
use serde::{Deserialize, Serialize};

use super::{memory::ProcessMemory, server::Server};

/// `SizeOfXLogRecord` (src/include/access/xlogrecord.h): no record is shorter.
const SHORTEST_RECORD: u64 = 24;
/// `XLR_MAX_BLOCK_ID` + 1 (same file): a record has no more images.
const MOST_IMAGES: u64 = 33;

/// Of the whole life of a process, or a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalUsage {
    pub records: u64,
    /// Images of full pages in them.
    pub images: u64,
    /// The records without the headers of pages and the gaps between records.
    pub bytes: u64,
}

impl WalUsage {
    /// What came since; none when it is not a continuation.
    pub fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            records: self.records.checked_sub(before.records)?,
            images: self.images.checked_sub(before.images)?,
            bytes: self.bytes.checked_sub(before.bytes)?,
        })
    }

    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.images += other.images;
        self.bytes += other.bytes;
    }
}

/// Where `pgWalUsage` is.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    address: u64,
    fields: &'static UserFields,
    /// Address of the pointer to the transaction counters, and where in them is what counts.
    completed: Option<(u64, u32)>,
}

impl Reader {
    /// # Errors
    /// Why it cannot be read, for people.
    pub fn of(server: &Server) -> Result<Self, String> {
        let major = server.cluster.version.major;
        let layout = server.layout.ok_or_else(|| format!("PostgreSQL {major} has no layout table"))?;
        let fields = &layout.user;
        let symbol = server.binary.symbol("pgWalUsage").ok_or("the server's executable exports no pgWalUsage")?;
        let last = if fields.wal_buffers_full == ABSENT { fields.wal_bytes } else { fields.wal_buffers_full };
        let expected = u64::from(last) + 8;
        if symbol.size != expected {
            return Err(format!("pgWalUsage has {} bytes, {expected} were expected", symbol.size));
        }
        let address = server.address("pgWalUsage").ok_or("pgWalUsage cannot be found in memory")?;
        let completed =
            [("ShmemVariableCache", fields.variable_cache_completed), ("TransamVariables", fields.transam_completed)];
        let completed = completed.into_iter().filter(|(_, at)| *at != ABSENT);
        let completed = completed.filter_map(|(name, at)| Some((server.address(name)?, at))).next();
        Ok(Self { address, fields, completed })
    }

    /// Of one process, from its start.
    pub fn read(&self, process: &ProcessMemory) -> Option<WalUsage> {
        let mut bytes = [0; WAL_USAGE_LEN];
        process.bytes(self.address, &mut bytes).ok()?;
        self.parse(&bytes)
    }

    /// As the kernel side read it.
    pub fn parse(&self, bytes: &[u8; WAL_USAGE_LEN]) -> Option<WalUsage> {
        parse(self.fields, bytes)
    }

    /// Transactions with a number of their own, hence with something to write, that ended since the server started; not
    /// known in 13. They are those of the whole cluster, and any of its processes can be asked.
    pub fn completed(&self, process: &ProcessMemory) -> Option<u64> {
        let (variable, at) = self.completed?;
        let counters = process.ptr(variable).ok().filter(|address| *address != 0)?;
        // Always above 1 (src/include/access/transam.h).
        process.read_u64(counters + u64::from(at)).ok().filter(|count| *count > 0)
    }
}

fn parse(fields: &UserFields, bytes: &[u8]) -> Option<WalUsage> {
    let u64_at = |at: u32| bytes.get(at as usize..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    let read = WalUsage {
        records: u64_at(fields.wal_records)?,
        images: u64_at(fields.wal_fpi)?,
        bytes: u64_at(fields.wal_bytes)?,
    };
    // The three are added one after another: between two of them a record is half counted.
    let fits = read.bytes.saturating_add(SHORTEST_RECORD) >= read.records.saturating_mul(SHORTEST_RECORD)
        && read.images <= read.records.saturating_add(1).saturating_mul(MOST_IMAGES);
    fits.then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::layout;

    #[test]
    fn what_cannot_be_is_refused() {
        let read = |major: u32, values: [u64; 3]| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
            parse(&layout::for_major(major).unwrap().user, &bytes)
        };
        for major in 13..=18 {
            let usage = read(major, [10, 2, 17_000]).unwrap();
            assert_eq!(usage, WalUsage { records: 10, images: 2, bytes: 17_000 });
            assert_eq!(read(major, [0, 0, 0]), Some(WalUsage::default()));
            assert_eq!(read(major, [1_000, 2, 17_000]), None);
            assert_eq!(read(major, [10, 1_000, 17_000]), None);
            assert_eq!(read(major, [u64::MAX, 1, 1]), None);
        }
    }

    #[test]
    fn a_process_of_the_same_number_is_no_continuation() {
        let usage = |records| WalUsage { records, images: 0, bytes: records * 30 };
        assert_eq!(usage(5).since(&usage(3)), Some(usage(2)));
        assert_eq!(usage(2).since(&usage(3)), None);
    }
}
