//! What each process of a server is there for: a sync by the checkpointer is no news, the same sync in a client's
//! statement is.
//!
//! Two witnesses: the server's own variable `MyBackendType`, which is right, and the process title, which is for
//! people, may be frozen (`update_process_title = off`), but also tells user, database and leader.

#[cfg(test)]
mod properties;
mod title;

pub use crate::vocabulary::Role;
pub use title::{Identity, from_title};

/// `enum BackendType` of src/include/miscadmin.h, per major version, in the order of its values from 0 (`B_INVALID`).
/// The order changed in 15, 16, 17 and 18. `None` where a value is no role of a server's process: invalid, standalone.
///
/// A postmaster is `B_INVALID` too. `B_BG_WORKER` covers parallel and logical replication workers: the title tells
/// which.
fn backend_types(major: u32) -> &'static [Option<Role>] {
    use Role::*;
    const V13: &[Option<Role>] = &[
        None,
        Some(AutovacuumLauncher),
        Some(AutovacuumWorker),
        Some(ClientBackend),
        Some(BackgroundWorker),
        Some(BackgroundWriter),
        Some(Checkpointer),
        Some(Startup),
        Some(WalReceiver),
        Some(WalSender),
        Some(WalWriter),
        Some(Archiver),
        Some(StatsCollector),
        Some(Logger),
    ];
    const V15: &[Option<Role>] = &[
        None,
        Some(AutovacuumLauncher),
        Some(AutovacuumWorker),
        Some(ClientBackend),
        Some(BackgroundWorker),
        Some(BackgroundWriter),
        Some(Checkpointer),
        Some(Startup),
        Some(WalReceiver),
        Some(WalSender),
        Some(WalWriter),
        Some(Archiver),
        Some(Logger),
    ];
    const V16: &[Option<Role>] = &[
        None,
        Some(Archiver),
        Some(AutovacuumLauncher),
        Some(AutovacuumWorker),
        Some(ClientBackend),
        Some(BackgroundWorker),
        Some(BackgroundWriter),
        Some(Checkpointer),
        Some(Logger),
        None, // B_STANDALONE_BACKEND
        Some(Startup),
        Some(WalReceiver),
        Some(WalSender),
        Some(WalWriter),
    ];
    const V17: &[Option<Role>] = &[
        None,
        Some(ClientBackend),
        Some(AutovacuumLauncher),
        Some(AutovacuumWorker),
        Some(BackgroundWorker),
        Some(WalSender),
        Some(SlotsyncWorker),
        None, // B_STANDALONE_BACKEND
        Some(Archiver),
        Some(BackgroundWriter),
        Some(Checkpointer),
        Some(Startup),
        Some(WalReceiver),
        Some(WalSummarizer),
        Some(WalWriter),
        Some(Logger),
    ];
    const V18: &[Option<Role>] = &[
        None,
        Some(ClientBackend),
        Some(ClientBackend), // B_DEAD_END_BACKEND: refuses a client
        Some(AutovacuumLauncher),
        Some(AutovacuumWorker),
        Some(BackgroundWorker),
        Some(WalSender),
        Some(SlotsyncWorker),
        None, // B_STANDALONE_BACKEND
        Some(Archiver),
        Some(BackgroundWriter),
        Some(Checkpointer),
        Some(IoWorker),
        Some(Startup),
        Some(WalReceiver),
        Some(WalSummarizer),
        Some(WalWriter),
        Some(Logger),
    ];
    match major {
        13 | 14 => V13,
        15 => V15,
        16 => V16,
        17 => V17,
        18 => V18,
        _ => &[],
    }
}

/// The role that a value of `MyBackendType` means in a major version, 13 to 18.
pub fn from_backend_type(major: u32, value: u32) -> Option<Role> {
    backend_types(major).get(usize::try_from(value).ok()?).copied().flatten()
}

/// The value of `MyBackendType` of a role in a major version, 13 to 18. None for roles that share a value with others
/// (parallel and logical workers) or have none.
pub fn backend_type_of(major: u32, role: Role) -> Option<u32> {
    let at = backend_types(major).iter().position(|known| *known == Some(role))?;
    u32::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backend_types_of_every_version() {
        // Client backend, background worker, checkpointer, walsender, walwriter, logger.
        for (major, values) in [
            (13, [3, 4, 6, 9, 10, 13]),
            (14, [3, 4, 6, 9, 10, 13]),
            (15, [3, 4, 6, 9, 10, 12]),
            (16, [4, 5, 7, 12, 13, 8]),
            (17, [1, 4, 10, 5, 14, 15]),
            (18, [1, 5, 11, 6, 16, 17]),
        ] {
            let roles = [
                Role::ClientBackend,
                Role::BackgroundWorker,
                Role::Checkpointer,
                Role::WalSender,
                Role::WalWriter,
                Role::Logger,
            ];
            for (role, value) in roles.into_iter().zip(values) {
                assert_eq!(backend_type_of(major, role), Some(value), "{major} {role}");
                assert_eq!(from_backend_type(major, value), Some(role), "{major} {value}");
            }
            assert_eq!(from_backend_type(major, 0), None);
            assert_eq!(from_backend_type(major, 18), None);
            assert_eq!(backend_type_of(major, Role::ParallelWorker), None);
            assert_eq!(backend_type_of(major, Role::IoWorker).is_some(), major >= 18);
            assert_eq!(backend_type_of(major, Role::StatsCollector).is_some(), major <= 14);
        }
        for major in [0, 12, 19, u32::MAX] {
            assert_eq!(from_backend_type(major, 3), None);
            assert_eq!(backend_type_of(major, Role::ClientBackend), None);
        }
        assert_eq!(from_backend_type(18, 2), Some(Role::ClientBackend));
        assert_eq!(from_backend_type(18, u32::MAX), None);
    }
}
