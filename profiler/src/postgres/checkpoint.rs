//! The checkpoint under way, or the last one, as the checkpointer keeps it for `log_checkpoints`: `CheckpointStats`, an
//! exported variable in its own memory (src/backend/access/transam/xlog.c, 13 to 18). It is kept whether or not the server
//! logs, for restartpoints too, and stays until the next one begins.
//!
//! Nothing holds it still while it is read, so that each reading must prove itself: its times follow each other and its
//! counts agree. Else there is none, and the next look will have one.

use pgstrobe_common::{
    fields::{ABSENT, UserFields},
    record::CHECKPOINT_WORDS,
};
use serde::{Deserialize, Serialize};

use super::{memory::ProcessMemory, server::Server};

/// The variable.
const VARIABLE: &str = "CheckpointStats";
/// Bytes of the struct, in every version.
const SIZE: usize = 8 * CHECKPOINT_WORDS;
/// Segments or files of one checkpoint beyond which a number is none.
const MOST: u32 = 1 << 24;

/// Times are microseconds since the Unix epoch by the server's clock, none for what has not come yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub start_us: u64,
    /// The dirty buffers begin to be written.
    pub write_us: Option<u64>,
    /// The files begin to be synced.
    pub sync_us: Option<u64>,
    pub sync_end_us: Option<u64>,
    pub end_us: Option<u64>,
    pub buffers: u32,
    /// Pages of SLRUs (18 and later).
    pub slru_buffers: Option<u32>,
    pub segments_added: u32,
    pub segments_removed: u32,
    pub segments_recycled: u32,
    /// Files synced, and the time of the longest sync and of all, in microseconds: known once it has ended its syncs.
    pub files: u32,
    pub longest_sync_us: u64,
    pub sync_time_us: u64,
}

/// Where `CheckpointStats` is.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    address: u64,
    fields: &'static UserFields,
}

impl Reader {
    /// # Errors
    /// Why checkpoints cannot be read, for people.
    pub fn of(server: &Server) -> Result<Self, String> {
        let major = server.cluster.version.major;
        let layout = server.layout.ok_or_else(|| format!("PostgreSQL {major} has no layout table"))?;
        let fields = &layout.user;
        let symbol = server.binary.symbol(VARIABLE).ok_or("the server's executable exports no CheckpointStats")?;
        let expected = u64::from(fields.checkpoint_sync_time) + 8;
        if symbol.size != expected || expected != SIZE as u64 {
            return Err(format!("CheckpointStats has {} bytes, {expected} were expected", symbol.size));
        }
        let address = server.address(VARIABLE).ok_or("CheckpointStats cannot be found in memory")?;
        Ok(Self { address, fields })
    }

    /// The checkpoint in the memory of the checkpointer. None when it has made none, or when it cannot be read now.
    pub fn read(&self, checkpointer: &ProcessMemory) -> Option<Checkpoint> {
        let mut bytes = [0; SIZE];
        checkpointer.bytes(self.address, &mut bytes).ok()?;
        parse(self.fields, &bytes)
    }

    /// As the kernel side read it.
    pub fn parse(&self, words: &[u64; CHECKPOINT_WORDS]) -> Option<Checkpoint> {
        parse(self.fields, &words.map(u64::to_ne_bytes).concat())
    }
}

/// Seconds from the Unix epoch to 2000-01-01, from which Postgres counts (src/include/datatype/timestamp.h:
/// `POSTGRES_EPOCH_JDATE` - `UNIX_EPOCH_JDATE` days).
const EPOCH_S: u64 = (2_451_545 - 2_440_588) * 86_400;

fn parse(fields: &UserFields, bytes: &[u8]) -> Option<Checkpoint> {
    let u64_at = |at: u32| bytes.get(at as usize..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    let count = |at: u32| {
        let count = u32::from_ne_bytes(*bytes.get(at as usize..)?.first_chunk()?);
        (count <= MOST).then_some(count)
    };
    // 0 is not yet; no server runs in 1999.
    let time = |at: u32| match u64_at(at)? {
        0 => Some(None),
        us => i64::try_from(us).is_ok().then(|| Some(us.saturating_add(EPOCH_S * 1_000_000))),
    };
    let start_us = time(fields.checkpoint_start)??;
    let (write_us, sync_us) = (time(fields.checkpoint_write)?, time(fields.checkpoint_sync)?);
    let (sync_end_us, end_us) = (time(fields.checkpoint_sync_end)?, time(fields.checkpoint_end)?);
    let times = [Some(start_us), write_us, sync_us, sync_end_us, end_us];
    // Each comes after the one before it, and none without it.
    if times.windows(2).any(|pair| pair[1].is_some() && pair[1] < pair[0].or(Some(u64::MAX))) {
        return None;
    }
    let slru_buffers = match fields.checkpoint_slru_buffers {
        ABSENT => None,
        at => Some(count(at)?),
    };
    let read = Checkpoint {
        start_us,
        write_us,
        sync_us,
        sync_end_us,
        end_us,
        buffers: count(fields.checkpoint_buffers)?,
        slru_buffers,
        segments_added: count(fields.checkpoint_segments_added)?,
        segments_removed: count(fields.checkpoint_segments_removed)?,
        segments_recycled: count(fields.checkpoint_segments_recycled)?,
        files: count(fields.checkpoint_files)?,
        longest_sync_us: u64_at(fields.checkpoint_longest_sync)?,
        sync_time_us: u64_at(fields.checkpoint_sync_time)?,
    };
    let phase = sync_us.and_then(|sync| Some(sync_end_us? - sync));
    let holds = read.longest_sync_us <= read.sync_time_us
        // The single times are taken by another clock than the phase.
        && phase.is_none_or(|phase| read.sync_time_us <= phase + phase / 100 + 1_000)
        && (read.files > 0 || read.sync_time_us == 0);
    holds.then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::layout;

    fn bytes(fields: &UserFields, values: &[(u32, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; fields.checkpoint_sync_time as usize + 8];
        for (at, value) in values {
            let wide = *at <= fields.checkpoint_end || *at >= fields.checkpoint_longest_sync;
            let value = value.to_ne_bytes();
            let value = if wide { &value[..] } else { &value[..4] };
            bytes[*at as usize..][..value.len()].copy_from_slice(value);
        }
        bytes
    }

    #[test]
    fn reads_each_version() {
        for major in 13..=18 {
            let fields = &layout::for_major(major).unwrap().user;
            let whole = [
                (fields.checkpoint_start, 1_000),
                (fields.checkpoint_write, 1_100),
                (fields.checkpoint_sync, 5_000),
                (fields.checkpoint_sync_end, 9_000),
                (fields.checkpoint_end, 9_100),
                (fields.checkpoint_buffers, 77),
                (fields.checkpoint_files, 3),
                (fields.checkpoint_longest_sync, 2_000),
                (fields.checkpoint_sync_time, 3_500),
            ];
            let read = parse(fields, &bytes(fields, &whole)).unwrap();
            assert_eq!((read.buffers, read.files, read.longest_sync_us), (77, 3, 2_000));
            assert_eq!(read.start_us, 946_684_800_001_000);
            assert_eq!(read.end_us, Some(946_684_800_009_100));
            assert_eq!(read.slru_buffers, (major >= 18).then_some(0));
            let begun = parse(fields, &bytes(fields, &whole[..2])).unwrap();
            assert_eq!((begun.sync_us, begun.end_us), (None, None));
            assert_eq!(parse(fields, &bytes(fields, &[])), None, "none was made");
            for (at, wrong) in [
                (fields.checkpoint_write, 900),
                (fields.checkpoint_sync, 0),
                (fields.checkpoint_end, u64::MAX),
                (fields.checkpoint_sync_time, 1_900),
                (fields.checkpoint_sync_time, 90_000),
                (fields.checkpoint_files, 0),
                (fields.checkpoint_buffers, 0x7fff_ffff),
            ] {
                let mut values = whole.to_vec();
                values.push((at, wrong));
                assert_eq!(parse(fields, &bytes(fields, &values)), None, "{major}: {wrong} at {at}");
            }
        }
    }
}
