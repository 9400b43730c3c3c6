//! From bytes of the ring buffer to the aggregate.

use pgstrobe_common::{
    record::{Ready, TEXT_CUT, TEXT_FULL, TEXT_QUERY_ID},
    records::AnyRecord,
};

use super::Session;
use crate::postgres::{
    backend::{Identity, Role},
    server::Server,
};

impl Session {
    /// Takes everything out of the ring buffer.
    pub(super) fn drain(&mut self) {
        let Self { instrument, stacks, aggregate, storage, server, unidentified, .. } = self;
        instrument.drain(&mut |bytes| match AnyRecord::read(bytes) {
            Ok(AnyRecord::Statement(statement, _)) => {
                stacks.learn(&statement.ledger.parts);
                aggregate.statement(statement.header.pid, &statement.finished, Some(&statement.ledger));
                aggregate.sampled(statement.header.pid, &statement.finished, &statement.samples);
            }
            Ok(AnyRecord::BatchHead(head, rest)) => {
                aggregate.batch(head.header.pid, head.generation, head.statements(rest));
            }
            Ok(AnyRecord::Sync(sync, _)) => {
                let known = aggregate.identity(sync.header.pid).map(|identity| identity.role);
                let role = known.filter(|role| *role != Role::Unknown).or(server.role(sync.backend_type));
                aggregate.sync(sync, role.unwrap_or(Role::Unknown));
            }
            Ok(AnyRecord::File(file, _)) => storage.file(file, server),
            Ok(AnyRecord::Truncated(truncated, _)) => storage.truncated(truncated, server),
            Ok(AnyRecord::StatementIo(io, _)) => aggregate.io(io),
            Ok(AnyRecord::Text(text, rest)) => {
                let body = &rest[..rest.len().min(text.len as usize)];
                let flag = |flag| text.flags & flag != 0;
                aggregate.text(text.class_key, flag(TEXT_QUERY_ID), body, flag(TEXT_CUT), flag(TEXT_FULL));
            }
            Ok(AnyRecord::Fork(fork, _)) => {
                let pid = fork.header.pid;
                aggregate.appear(pid, Some(fork.namespace_pid).filter(|inside| ![0, pid].contains(inside)));
                unidentified.insert(pid);
            }
            Ok(AnyRecord::Ready(ready, _)) => {
                let pid = ready.header.pid;
                stacks.learn(&ready.startup.parts);
                let startup = (ready.forked_ns != 0).then(|| ready.header.ts_ns.saturating_sub(ready.forked_ns));
                unidentified.remove(&pid);
                aggregate.identify(pid, identity(ready, server));
                aggregate.ready(pid, startup, ready.startup_ns, &ready.startup);
            }
            Ok(AnyRecord::Title(title, _)) => {
                let pid = title.header.pid;
                let identity = server.identity(&title.title, title.backend_type);
                if identity.role != Role::Unknown && unidentified.remove(&pid) {
                    aggregate.identify(pid, identity);
                }
            }
            Ok(AnyRecord::Exit(exit, _)) => {
                let pid = exit.header.pid;
                stacks.learn(&exit.outside.parts);
                if unidentified.remove(&pid)
                    && let Some(role) = server.role(exit.backend_type)
                {
                    aggregate.identify(pid, Identity::of(role));
                }
                storage.wal.exits(pid, exit.status, aggregate);
                aggregate.ends(pid, exit.header.ts_ns);
                aggregate.exit(exit);
            }
            Ok(AnyRecord::Wake(wake, _)) => aggregate.wake(wake),
            Ok(AnyRecord::AioWake(wake, _)) => aggregate.aio_wake(wake),
            Ok(AnyRecord::Checkpoint(checkpoint, _)) => {
                storage.wal.checkpointed(checkpoint, server, aggregate);
            }
            Ok(AnyRecord::WalWritten(written, _)) => storage.wal.ends(written.header.pid, &written.usage),
            Ok(AnyRecord::Pause(pause, _)) => aggregate.pause(pause),
            Ok(AnyRecord::Reclaimed(reclaimed, _)) => aggregate.reclaimed(reclaimed),
            Ok(AnyRecord::Traced(traced, _)) => storage.traced(*traced),
            Err(unreadable) => tracing::error!("{unreadable}: kernel side and userspace differ"),
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
        /// Whatever comes is read within its bytes, or refused.
        #[test]
        fn any_bytes(kind in 0..32u16, words in prop::collection::vec(any::<u64>(), 0..128), cut in 0..8usize) {
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            if let Some(first) = bytes.first_chunk_mut() {
                *first = kind.to_ne_bytes();
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            match AnyRecord::read(&bytes) {
                Ok(AnyRecord::BatchHead(head, rest)) => {
                    prop_assert_eq!((head.header.kind, head.len), (kind, word(&bytes, 20)));
                    let statements = head.statements(rest);
                    prop_assert!(statements.len() <= head.len as usize && statements.len() <= rest.len() / 64);
                    for (i, finished) in statements.iter().enumerate() {
                        prop_assert_eq!(finished.flags, word(&bytes, 24 + 64 * i + 60));
                    }
                }
                Ok(AnyRecord::Statement(statement, _)) => {
                    prop_assert_eq!(statement.finished.flags, word(&bytes, 76));
                }
                Ok(AnyRecord::Text(text, rest)) => {
                    prop_assert_eq!((text.len, rest), (word(&bytes, 28), &bytes[32..]));
                }
                Ok(_) => prop_assert!((1..=18).contains(&kind)),
                Err(unreadable) => prop_assert_eq!(unreadable.len, bytes.len()),
            }
        }
    }

    fn word(bytes: &[u8], at: usize) -> u32 {
        bytes[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }
}
