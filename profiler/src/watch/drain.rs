//! From bytes of the ring buffer to the aggregate.

use pgstrobe_common::{
    record::{Ready, TEXT_CUT, TEXT_FULL, TEXT_QUERY_ID},
    records::AnyRecord,
};

use super::{Watches, one::Watch};
use crate::{
    cause::Stacks,
    postgres::{
        backend::{Identity, Role},
        server::Server,
    },
};

impl Watches {
    /// Takes out of the ring buffer what is there, and gives each record to whose it is.
    pub(super) fn drain(&mut self) {
        let Self { instrument, stacks, host, watches, finder, all, .. } = self;
        let mut begun = Vec::new();
        instrument.drain(&mut |bytes| match AnyRecord::read(bytes) {
            Ok(AnyRecord::Traced(traced, _)) => host.traced(*traced),
            Ok(AnyRecord::Exec(exec, _)) => begun.push(exec.header.pid),
            Ok(record) => match watches.get_mut(&record.header().cluster) {
                Some(watch) => watch.record(record, stacks),
                // Of one that ended, and is forgotten.
                None => tracing::debug!("a record of no server that is watched: {:?}", record.header()),
            },
            Err(unreadable) => tracing::error!("{unreadable}: kernel side and userspace differ"),
        });
        // The server that comes back may be among them.
        if !begun.is_empty() && (*all || watches.values().any(Watch::is_gone)) {
            finder.look_at(begun);
        }
    }
}

impl Watch {
    /// Takes in a record of this server.
    fn record(&mut self, record: AnyRecord<'_>, stacks: &mut Stacks) {
        match record {
            AnyRecord::Statement(statement, _) => {
                stacks.learn(&statement.ledger.parts);
                self.aggregate.statement(statement.header.pid, &statement.finished, Some(&statement.ledger));
                self.aggregate.sampled(statement.header.pid, &statement.finished, &statement.samples);
            }
            AnyRecord::BatchHead(head, rest) => {
                self.aggregate.batch(head.header.pid, head.generation, head.statements(rest));
            }
            AnyRecord::Sync(sync, _) => {
                let known = self.aggregate.identity(sync.header.pid).map(|identity| identity.role);
                let role = known.filter(|role| *role != Role::Unknown).or(self.server.role(sync.backend_type));
                self.aggregate.sync(sync, role.unwrap_or(Role::Unknown));
            }
            AnyRecord::File(file, _) => self.storage.file(file, &self.server),
            AnyRecord::Truncated(truncated, _) => self.storage.truncated(truncated, &self.server),
            AnyRecord::StatementIo(io, _) => self.aggregate.io(io),
            AnyRecord::Text(text, rest) => {
                let body = &rest[..rest.len().min(text.len as usize)];
                let flag = |flag| text.flags & flag != 0;
                self.aggregate.text(text.class_key, flag(TEXT_QUERY_ID), body, flag(TEXT_CUT), flag(TEXT_FULL));
            }
            AnyRecord::Fork(fork, _) => {
                let pid = fork.header.pid;
                self.aggregate.appear(pid, Some(fork.namespace_pid).filter(|inside| ![0, pid].contains(inside)));
                self.unidentified.insert(pid);
            }
            AnyRecord::Ready(ready, _) => {
                let pid = ready.header.pid;
                stacks.learn(&ready.startup.parts);
                let startup = (ready.forked_ns != 0).then(|| ready.header.ts_ns.saturating_sub(ready.forked_ns));
                self.unidentified.remove(&pid);
                self.aggregate.identify(pid, identity(ready, &self.server));
                self.aggregate.ready(pid, startup, ready.startup_ns, &ready.startup);
            }
            AnyRecord::Title(title, _) => {
                let pid = title.header.pid;
                let identity = self.server.identity(&title.title, title.backend_type);
                if identity.role != Role::Unknown && self.unidentified.remove(&pid) {
                    self.aggregate.identify(pid, identity);
                }
            }
            AnyRecord::Exit(exit, _) => {
                let pid = exit.header.pid;
                stacks.learn(&exit.outside.parts);
                if self.unidentified.remove(&pid)
                    && let Some(role) = self.server.role(exit.backend_type)
                {
                    self.aggregate.identify(pid, Identity::of(role));
                }
                self.storage.wal.exits(pid, exit.status, &self.aggregate);
                self.aggregate.ends(pid, exit.header.ts_ns);
                self.aggregate.exit(exit);
            }
            AnyRecord::Wake(wake, _) => self.aggregate.wake(wake),
            AnyRecord::AioWake(wake, _) => self.aggregate.aio_wake(wake),
            AnyRecord::Checkpoint(checkpoint, _) => {
                self.storage.wal.checkpointed(checkpoint, &self.server, &mut self.aggregate);
            }
            AnyRecord::WalWritten(written, _) => self.storage.wal.ends(written.header.pid, &written.usage),
            AnyRecord::Pause(pause, _) => self.aggregate.pause(pause),
            AnyRecord::Reclaimed(reclaimed, _) => self.aggregate.reclaimed(reclaimed),
            AnyRecord::Faulted(faulted, _) => self.aggregate.faulted(faulted),
            // Of the host: they are not given to a server.
            AnyRecord::Traced(..) | AnyRecord::Exec(..) => {}
        }
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
                Ok(_) => prop_assert!((1..=20).contains(&kind)),
                Err(unreadable) => prop_assert_eq!(unreadable.len, bytes.len()),
            }
        }
    }

    fn word(bytes: &[u8], at: usize) -> u32 {
        bytes[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }
}
