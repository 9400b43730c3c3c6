//! From bytes of the ring buffer to the aggregate.

use pgstrobe_common::{
    aio::AioWake,
    files::{File, StatementIo, Truncated},
    reclaim::Reclaimed,
    record::{
        BATCH_LEN, Batch, Checkpoint, Exit, Finished, Fork, Header, KIND_AIO_WAKE, KIND_BATCH, KIND_CHECKPOINT,
        KIND_EXIT, KIND_FILE, KIND_FORK, KIND_PAUSE, KIND_READY, KIND_RECLAIMED, KIND_STATEMENT, KIND_STATEMENT_IO,
        KIND_SYNC, KIND_TEXT, KIND_TITLE, KIND_TRACED, KIND_TRUNCATED, KIND_WAKE, KIND_WAL_WRITTEN, Pause, Ready,
        Statement, Sync, TEXT_CUT, TEXT_FULL, TEXT_QUERY_ID, Text, Title, Wake, WalWritten,
    },
    trace::Traced,
};

use super::Session;
use crate::postgres::{
    backend::{Identity, Role},
    server::Server,
};

/// A record of type `T` at the beginning of `bytes`; short input reads as zeros.
fn record<T: Plain>(bytes: &[u8]) -> T {
    let mut value = T::ZERO;
    let n = bytes.len().min(size_of::<T>());
    // SAFETY: `Plain` types are integers without padding; the copy stays within both.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast(), n) };
    value
}

/// Records: `repr(C)`, integers only.
trait Plain: Copy {
    const ZERO: Self;
}

macro_rules! plain {
    // SAFETY: for all of them, zero bytes are a value.
    ($($type:ty),+) => {$(impl Plain for $type {
        const ZERO: Self = unsafe { std::mem::zeroed() };
    })+};
}

plain!(Header, Statement, BatchHead, Finished, Fork, Ready, Title, Exit, Text, Sync, Wake);
plain!(File, StatementIo, Truncated, WalWritten, Checkpoint, Pause, Reclaimed, AioWake, Traced);

/// A [`Batch`] up to its statements.
#[repr(C)]
#[derive(Clone, Copy)]
struct BatchHead {
    header: Header,
    generation: u32,
    len: u32,
}

const _: () = assert!(size_of::<BatchHead>() == std::mem::offset_of!(Batch, statements));

/// The statements of a batch, where they lie: this is the path of nearly all statements. `copy` takes those of a record
/// that is shorter than it says, or not aligned.
fn statements<'a>(bytes: &'a [u8], head: &BatchHead, copy: &'a mut [Finished; BATCH_LEN]) -> &'a [Finished] {
    let len = (head.len as usize).min(BATCH_LEN);
    let body = bytes.get(size_of::<BatchHead>()..).unwrap_or_default();
    // SAFETY: any bytes are a `Finished`: integers without padding.
    let (before, whole, _) = unsafe { body.align_to::<Finished>() };
    if before.is_empty() && whole.len() >= len {
        return &whole[..len];
    }
    for (i, finished) in copy.iter_mut().enumerate() {
        *finished = record(body.get(i * size_of::<Finished>()..).unwrap_or_default());
    }
    &copy[..len]
}

impl Session {
    /// Takes everything out of the ring buffer.
    pub(super) fn drain(&mut self) {
        let Self { instrument, stacks, aggregate, storage, server, unidentified, .. } = self;
        instrument.drain(&mut |bytes| match record::<Header>(bytes).kind {
            KIND_STATEMENT => {
                let statement: Statement = record(bytes);
                stacks.learn(&statement.ledger.parts);
                aggregate.statement(statement.header.pid, &statement.finished, Some(&statement.ledger));
                aggregate.sampled(statement.header.pid, &statement.finished, &statement.samples);
            }
            KIND_BATCH => {
                let head: BatchHead = record(bytes);
                let mut copy = [Finished::default(); BATCH_LEN];
                let statements = statements(bytes, &head, &mut copy);
                aggregate.batch(head.header.pid, head.generation, statements);
            }
            KIND_SYNC => {
                let sync: Sync = record(bytes);
                let known = aggregate.identity(sync.header.pid).map(|identity| identity.role);
                let role = known.filter(|role| *role != Role::Unknown).or(server.role(sync.backend_type));
                aggregate.sync(&sync, role.unwrap_or(Role::Unknown).name());
            }
            KIND_FILE => storage.file(&record(bytes), server),
            KIND_TRUNCATED => storage.truncated(&record(bytes), server),
            KIND_STATEMENT_IO => aggregate.io(&record(bytes)),
            KIND_TEXT => {
                let text: Text = record(bytes);
                let body = bytes.get(size_of::<Text>()..).unwrap_or_default();
                let body = &body[..body.len().min(text.len as usize)];
                let flag = |flag| text.flags & flag != 0;
                aggregate.text(text.class_key, flag(TEXT_QUERY_ID), body, flag(TEXT_CUT), flag(TEXT_FULL));
            }
            KIND_FORK => {
                let fork: Fork = record(bytes);
                let pid = fork.header.pid;
                aggregate.appear(pid, Some(fork.namespace_pid).filter(|inside| ![0, pid].contains(inside)));
                unidentified.insert(pid);
            }
            KIND_READY => {
                let ready: Ready = record(bytes);
                let pid = ready.header.pid;
                stacks.learn(&ready.startup.parts);
                let startup = (ready.forked_ns != 0).then(|| ready.header.ts_ns.saturating_sub(ready.forked_ns));
                unidentified.remove(&pid);
                aggregate.identify(pid, identity(&ready, server));
                aggregate.ready(pid, startup, ready.startup_ns, &ready.startup);
            }
            KIND_TITLE => {
                let title: Title = record(bytes);
                let pid = title.header.pid;
                let identity = server.identity(&title.title, title.backend_type);
                if identity.role != Role::Unknown && unidentified.remove(&pid) {
                    aggregate.identify(pid, identity);
                }
            }
            KIND_EXIT => {
                let exit: Exit = record(bytes);
                let pid = exit.header.pid;
                stacks.learn(&exit.outside.parts);
                if unidentified.remove(&pid)
                    && let Some(role) = server.role(exit.backend_type)
                {
                    aggregate.identify(pid, Identity::of(role));
                }
                storage.wal.exits(pid, exit.status, aggregate);
                aggregate.ends(pid, exit.header.ts_ns);
                aggregate.exit(&exit);
            }
            KIND_WAKE => {
                let wake: Wake = record(bytes);
                aggregate.wake(&wake);
            }
            KIND_AIO_WAKE => aggregate.aio_wake(&record(bytes)),
            KIND_CHECKPOINT => {
                let checkpoint: Checkpoint = record(bytes);
                storage.wal.checkpointed(&checkpoint, server, aggregate);
            }
            KIND_WAL_WRITTEN => {
                let written: WalWritten = record(bytes);
                storage.wal.ends(written.header.pid, &written.usage);
            }
            KIND_PAUSE => {
                let pause: Pause = record(bytes);
                aggregate.pause(&pause);
            }
            KIND_RECLAIMED => aggregate.reclaimed(&record(bytes)),
            KIND_TRACED => storage.traced(record(bytes)),
            kind => tracing::error!("a record of unknown kind {kind}: kernel side and userspace differ"),
        });
    }
}

/// Who a backend said it is when it became ready.
fn identity(ready: &Ready, server: &Server) -> Identity {
    let mut identity = server.identity(&ready.title, ready.backend_type);
    let name = |bytes: &[u8]| {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned()).filter(|name| !name.is_empty())
    };
    identity.database = name(&ready.database_name).or(identity.database);
    identity.user = name(&ready.user_name).or(identity.user);
    identity.application_name = name(&ready.application_name);
    identity
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A record of any length is read within its bytes, and what is missing reads as zero.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
            let mut whole = bytes.clone();
            whole.resize(1024, 0);
            let same = |kind: u16, pid: u32| (kind, pid) == (word(&whole, 0) as u16, word(&whole, 4));
            prop_assert!(same(record::<Header>(&bytes).kind, record::<Header>(&bytes).pid));
            prop_assert_eq!(record::<Header>(&bytes).cluster, (word(&whole, 0) >> 16) as u16);
            let statement: Statement = record(&bytes);
            prop_assert!(same(statement.header.kind, statement.header.pid));
            prop_assert_eq!(statement.finished.flags, word(&whole, 76));
            let head: BatchHead = record(&bytes);
            prop_assert_eq!(head.len, word(&whole, 20));
            let mut copy = [Finished::default(); BATCH_LEN];
            for (i, finished) in statements(&bytes, &head, &mut copy).iter().enumerate() {
                prop_assert_eq!(finished.flags, word(&whole, 24 + 64 * i + 60));
            }
            prop_assert_eq!(record::<Fork>(&bytes).parent, word(&whole, 16));
            prop_assert_eq!(record::<Text>(&bytes).len, word(&whole, 28));
            prop_assert_eq!(record::<Exit>(&bytes).backend_type, word(&whole, 20));
            prop_assert_eq!(record::<Sync>(&bytes).file_mode, word(&whole, 36));
            prop_assert_eq!(&record::<Ready>(&bytes).title[..], &whole[40 + size_of::<pgstrobe_common::ledger::Ledger>()..][..128]);
        }
    }

    fn word(bytes: &[u8], at: usize) -> u32 {
        bytes[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }
}
