//! Whose a request is, in words.

use std::collections::HashMap;

use pgstrobe_common::block::{
    BlockKey, OWNER, OWNER_BACKEND, OWNER_CLUSTER, OWNER_FOLDED, OWNER_KWORKER, OWNER_PROCESS, OWNER_THREAD,
};

use crate::report::model::BlockOwner;
use crate::vocabulary::{OwnerKind, Role};

/// What the numbers in keys mean.
pub struct Owners<'a> {
    pub roles: &'a HashMap<u32, Role>,
    pub group: &'a dyn Fn(u64) -> Option<String>,
    /// Cgroup of the cluster.
    pub own: &'a str,
    /// Whether a process is a backend of another server that is watched.
    pub elsewhere: &'a dyn Fn(u32) -> bool,
}

impl Owners<'_> {
    /// A request from before a backend was adopted, or after it was let go, is that of a process to the kernel side.
    pub fn kind(&self, key: &BlockKey) -> u32 {
        match key.owner {
            OWNER_PROCESS if self.roles.contains_key(&key.pid) => OWNER_BACKEND | OWNER_CLUSTER,
            // Of a server, but not of this one.
            owner if owner == OWNER_BACKEND | OWNER_CLUSTER && (self.elsewhere)(key.pid) => OWNER_PROCESS,
            owner => owner,
        }
    }

    /// `comm`: name of the process or thread, empty when unknown. A backend is told by its role alone.
    pub fn name(&self, key: &BlockKey, comm: &str) -> BlockOwner {
        let cluster = key.owner & OWNER_CLUSTER != 0;
        let name_or = |other: &str| if comm.is_empty() { other } else { comm }.to_owned();
        let (kind, name, pid) = match key.owner & OWNER {
            OWNER_BACKEND => {
                (OwnerKind::Backend, self.roles.get(&key.pid).copied().unwrap_or_default().to_string(), None)
            }
            OWNER_PROCESS => (OwnerKind::Process, name_or("process"), Some(key.pid)),
            OWNER_KWORKER => (OwnerKind::KernelWorker, "kworker".to_owned(), None),
            OWNER_THREAD => (OwnerKind::KernelThread, name_or("kernel thread"), Some(key.pid)),
            OWNER_FOLDED => (OwnerKind::Folded, "others".to_owned(), None),
            _ => (OwnerKind::Unseen, "began unseen".to_owned(), None),
        };
        let cgroup = if cluster {
            self.own.to_owned()
        } else if key.cgroup == 0 {
            String::new()
        } else {
            (self.group)(key.cgroup).unwrap_or_else(|| "a cgroup that is gone".into())
        };
        BlockOwner { cluster, kind: kind.into(), name, pid, cgroup }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_known_as_a_backend_is_one() {
        let roles = HashMap::from([(7, Role::ClientBackend)]);
        let owners = Owners { roles: &roles, group: &|_| None, own: "", elsewhere: &|pid| pid == 9 };
        let of = |pid, owner| owners.kind(&BlockKey { cgroup: 0, device: 1, pid, op: 0, owner });
        assert_eq!(of(7, OWNER_PROCESS), OWNER_BACKEND | OWNER_CLUSTER);
        assert_eq!(of(8, OWNER_PROCESS), OWNER_PROCESS);
        assert_eq!(of(8, OWNER_BACKEND | OWNER_CLUSTER), OWNER_BACKEND | OWNER_CLUSTER);
        assert_eq!(of(9, OWNER_BACKEND | OWNER_CLUSTER), OWNER_PROCESS, "of another server");
        assert_eq!(of(7, OWNER_FOLDED), OWNER_FOLDED);
    }
}
