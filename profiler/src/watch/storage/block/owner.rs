//! Whose a request is, in words.

use std::collections::HashMap;

use pgstrobe_common::{
    block::{
        BlockKey, OWNER, OWNER_BACKEND, OWNER_FOLDED, OWNER_KWORKER, OWNER_PROCESS, OWNER_THREAD, cluster_of, owner,
    },
    cluster::NO_CLUSTER,
};

use crate::report::model::BlockOwner;
use crate::vocabulary::{OwnerKind, Role};

/// What the numbers in keys mean.
pub struct Owners<'a> {
    pub roles: &'a HashMap<u32, Role>,
    pub group: &'a dyn Fn(u64) -> Option<String>,
    /// Number of the server that looks, and its cgroup.
    pub number: u16,
    pub own: &'a str,
}

/// A request from before a backend was adopted, or after it was let go, is that of a process to the kernel side. `of` is the
/// server that the process is known to be of.
pub fn kind(key: &BlockKey, of: Option<u16>) -> u32 {
    match of {
        Some(number) if key.owner == owner(OWNER_PROCESS, NO_CLUSTER) => owner(OWNER_BACKEND, number),
        _ => key.owner,
    }
}

impl Owners<'_> {
    /// See [`kind`].
    pub fn kind(&self, key: &BlockKey) -> u32 {
        kind(key, self.roles.contains_key(&key.pid).then_some(self.number))
    }

    /// `comm`: name of the process or thread, empty when unknown, or the role of backends that are gone. A backend is told by its
    /// role alone; that of another server is a process as any other.
    pub fn name(&self, key: &BlockKey, comm: &str) -> BlockOwner {
        let cluster = cluster_of(key.owner) == self.number;
        let pid = (key.pid != 0).then_some(key.pid);
        let name_or = |other: &str| if comm.is_empty() { other } else { comm }.to_owned();
        let (kind, name, pid) = match key.owner & OWNER {
            OWNER_BACKEND if cluster && pid.is_none() => (OwnerKind::Backend, name_or(Role::Unknown.name()), None),
            OWNER_BACKEND if cluster => {
                (OwnerKind::Backend, self.roles.get(&key.pid).copied().unwrap_or_default().to_string(), None)
            }
            OWNER_BACKEND | OWNER_PROCESS => (OwnerKind::Process, name_or("process"), pid),
            OWNER_KWORKER => (OwnerKind::KernelWorker, "kworker".to_owned(), None),
            OWNER_THREAD => (OwnerKind::KernelThread, name_or("kernel thread"), pid),
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
        let owners = Owners { roles: &roles, group: &|_| None, number: 1, own: "" };
        let of = |pid, owner| owners.kind(&BlockKey { cgroup: 0, device: 1, pid, op: 0, owner });
        let process = owner(OWNER_PROCESS, NO_CLUSTER);
        assert_eq!(of(7, process), owner(OWNER_BACKEND, 1));
        assert_eq!(of(8, process), process);
        assert_eq!(of(7, owner(OWNER_FOLDED, NO_CLUSTER)), owner(OWNER_FOLDED, NO_CLUSTER));
    }

    #[test]
    fn a_backend_of_another_server_is_a_neighbour() {
        let roles = HashMap::from([(7, Role::ClientBackend)]);
        let owners = Owners { roles: &roles, group: &|_| Some("other.service".into()), number: 1, own: "own" };
        let of = |cluster| {
            let key = BlockKey { cgroup: 5, device: 1, pid: 7, op: 0, owner: owner(OWNER_BACKEND, cluster) };
            let name = owners.name(&key, "postgres");
            (name.cluster, name.kind, name.name, name.pid, name.cgroup)
        };
        assert_eq!(of(1), (true, OwnerKind::Backend.into(), "client backend".into(), None, "own".into()));
        assert_eq!(of(2), (false, OwnerKind::Process.into(), "postgres".into(), Some(7), "other.service".into()));
        assert_eq!(
            owners.kind(&BlockKey { owner: owner(OWNER_BACKEND, 2), pid: 7, ..BlockKey::default() }),
            owner(OWNER_BACKEND, 2)
        );
    }

    #[test]
    fn backends_that_are_gone_keep_their_role() {
        let owners = Owners { roles: &HashMap::new(), group: &|_| None, number: 0, own: "own" };
        let name = owners.name(&BlockKey { owner: owner(OWNER_BACKEND, 0), ..BlockKey::default() }, "client backend");
        assert_eq!((name.kind.as_str(), name.name.as_str(), name.pid), ("backend", "client backend", None));
    }
}
