//! Asynchronous I/O of 18: how many operations are under way, read from the server's shared memory
//! (src/backend/storage/aio/aio.c and src/include/storage/aio_internal.h).
//!
//! Each process has an entry in one array and so many handles (`io_max_concurrency`) in another. Nothing holds them still
//! and no offset was checked before, so that each look carries its own proof: every entry names its first handle, and every
//! handle that is counted names its owner. Else there is no answer, and the next look will have one.

use pgstrobe_common::fields::UserFields;

use super::{layout::is_address, memory::ProcessMemory, server::Server};

/// Processes and handles of one server beyond which a number is none: `MAX_BACKENDS` (src/include/postmaster/postmaster.h)
/// and the upper limit of `io_max_concurrency` (src/backend/utils/misc/guc_tables.c).
const MOST_PROCESSES: u32 = 1 << 18;
const MOST_HANDLES: u32 = 1024;

/// How the server makes its asynchronous I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all: as other versions do (`IOMETHOD_SYNC`, 0, src/include/storage/aio.h).
    Sync,
    Worker,
    IoUring,
}

impl Method {
    /// None before 18, and where the executable does not say.
    pub fn of(server: &Server) -> Option<Self> {
        let layout = server.layout.filter(|layout| layout.aio_worker.is_some())?;
        match server.variable("io_method") {
            method @ Some(_) if method == layout.aio_worker => Some(Self::Worker),
            method @ Some(_) if method == layout.aio_uring => Some(Self::IoUring),
            Some(0) => Some(Self::Sync),
            _ => None,
        }
    }

    /// As in `io_method`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Worker => "worker",
            Self::IoUring => "io_uring",
        }
    }
}

/// One look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Operations submitted and not known to be done, by process; none without any.
    pub under_way: Vec<u32>,
}

/// Where the entries and the handles are.
#[derive(Debug)]
pub struct Reader {
    memory: ProcessMemory,
    fields: &'static UserFields,
    submitted: u8,
    handle_size: u64,
    backend_size: u64,
    processes: u32,
    backends: u64,
    handles: u64,
    /// Handles of a process: `io_max_concurrency`, as the server settled it.
    pub concurrency: u32,
}

impl Reader {
    /// # Errors
    /// Why the depth cannot be read, for people.
    pub fn of(server: &Server) -> Result<Self, String> {
        let layout = server.layout.ok_or("no layout table")?;
        let fields = &layout.user;
        let sizes = layout.aio_handle_size.zip(layout.aio_backend_size).zip(layout.aio_submitted);
        let ((handle_size, backend_size), submitted) = sizes.ok_or("the layout table has no asynchronous I/O")?;
        let memory = ProcessMemory::open(server.cluster.postmaster_pid).map_err(|error| error.to_string())?;
        let control = server.address("pgaio_ctl").ok_or("the server's executable exports no pgaio_ctl")?;
        let pointer = |at: u64| memory.ptr(at).map_err(|error| error.to_string());
        let number = |at: u64| memory.read_u32(at).map_err(|error| error.to_string());
        let control = pointer(control)?;
        // The control structure has a field for the number of processes, which nobody fills.
        let all = number(control + u64::from(fields.aio_handle_count))?;
        let concurrency = server.variable("io_max_concurrency").unwrap_or(0);
        let processes = all.checked_div(concurrency).unwrap_or(0);
        let backends = pointer(control + u64::from(fields.aio_backends))?;
        let handles = pointer(control + u64::from(fields.aio_handles))?;
        let plausible = (1..=MOST_PROCESSES).contains(&processes)
            && (1..=MOST_HANDLES).contains(&concurrency)
            && all.is_multiple_of(concurrency)
            && is_address(backends)
            && is_address(handles);
        if !plausible {
            return Err("pgaio_ctl does not lead to the handles of asynchronous I/O".into());
        }
        let submitted = u8::try_from(submitted).map_err(|_| "no such state")?;
        let (handle_size, backend_size) = (u64::from(handle_size), u64::from(backend_size));
        let this =
            Self { memory, fields, submitted, handle_size, backend_size, processes, backends, handles, concurrency };
        if !this.owners_agree() {
            return Err("the entries of asynchronous I/O do not name their handles".into());
        }
        Ok(this)
    }

    /// Every process names its first handle, and that handle its owner.
    fn owners_agree(&self) -> bool {
        let (fields, stride) = (self.fields, u64::from(self.concurrency) * self.handle_size);
        let first = self.words(self.backends + u64::from(fields.aio_first_handle), self.backend_size);
        let owner = self.words(self.handles + u64::from(fields.aio_owner), stride);
        (0..self.processes).zip(first).all(|(i, first)| first == i * self.concurrency)
            && (0..self.processes).zip(owner).all(|(i, owner)| owner == i)
    }

    /// A 32-bit field of each process's entry, or of whatever lies so far apart.
    fn words(&self, first: u64, stride: u64) -> Vec<u32> {
        let addresses: Vec<u64> = (0..u64::from(self.processes)).map(|i| first + i * stride).collect();
        self.memory.words(&addresses).into_iter().map(|word| word as u32).collect()
    }

    /// What is under way now; none when it cannot be told this time.
    pub fn look(&self) -> Option<Depth> {
        let mut depth = Depth::default();
        let lists = self.words(self.backends + u64::from(self.fields.aio_under_way), self.backend_size);
        let mut bytes = vec![0; (u64::from(self.concurrency) * self.handle_size) as usize];
        // What another process has completed stays on the list until its owner looks.
        for (owner, _) in (0..self.processes).zip(lists).filter(|(_, listed)| *listed != 0) {
            let first = u64::from(owner * self.concurrency) * self.handle_size;
            self.memory.bytes(self.handles + first, &mut bytes).ok()?;
            let n = count(&bytes, self.handle_size as usize, self.fields, owner, self.submitted)?;
            if n != 0 {
                depth.under_way.push(n);
            }
        }
        Some(depth)
    }
}

/// Handles in a state; none where one of them is not the owner's.
fn count(handles: &[u8], size: usize, fields: &UserFields, owner: u32, state: u8) -> Option<u32> {
    let mut n = 0;
    for handle in handles.chunks_exact(size) {
        let named = handle.get(fields.aio_owner as usize..)?.first_chunk()?;
        if u32::from_ne_bytes(*named) != owner {
            return None;
        }
        n += (*handle.get(fields.aio_state as usize)? == state) as u32;
    }
    Some(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::layout;

    #[test]
    fn handles_are_counted_where_they_name_their_owner() {
        let layout = layout::for_major(18).unwrap();
        let (size, submitted) = (layout.aio_handle_size.unwrap() as usize, layout.aio_submitted.unwrap() as u8);
        let fields = &layout.user;
        let mut handles = vec![0; 4 * size];
        for (i, handle) in handles.chunks_exact_mut(size).enumerate() {
            handle[fields.aio_owner as usize] = 7;
            handle[fields.aio_state as usize] = if i < 3 { submitted } else { 0 };
        }
        assert_eq!(count(&handles, size, fields, 7, submitted), Some(3));
        assert_eq!(count(&handles, size, fields, 8, submitted), None);
    }

    #[test]
    fn versions_before_18_have_none() {
        for major in 13..=17 {
            assert_eq!(layout::for_major(major).unwrap().aio_handle_size, None);
        }
    }
}
