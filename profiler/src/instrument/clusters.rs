//! The servers as the kernel side knows them: an entry each, found by number, and the pids of their postmasters.

use std::io;

use pgstrobe_common::cluster::{ClassKey, Cluster, TEXT_WANTED};

use crate::maps::Map;

/// The maps of servers.
pub struct Clusters {
    pub(super) entries: Map<u32, Cluster>,
    pub(super) postmasters: Map<u32, u32>,
    /// How much of the texts of their classes is known.
    pub(super) classes: Map<ClassKey, u32>,
    /// Its one value: how many of them are at [`TEXT_WANTED`].
    pub(super) wanted: Map<u32, u64>,
}

impl Clusters {
    /// From now on the children of this postmaster are backends of that server.
    ///
    /// # Errors
    /// There is no room, or the kernel refuses.
    pub fn follow(&mut self, number: u32, cluster: Cluster, postmaster: u32) -> io::Result<()> {
        // In this order: a backend's server is known before the backend is.
        self.entries.set(&number, &cluster)?;
        self.postmasters.set(&postmaster, &number)
    }

    /// Another server is to have that number: its texts are yet to come.
    pub fn forget_classes(&mut self, number: u16) {
        for class in self.classes.keys().into_iter().filter(|class| class.cluster == u64::from(number)) {
            self.forget(class);
        }
    }

    /// Whoever uses these classes of that server from now on sends their texts again.
    pub fn forget_keys(&mut self, number: u16, keys: &[u64]) {
        for key in keys {
            self.forget(ClassKey { key: *key, cluster: number.into() });
        }
    }

    fn forget(&mut self, class: ClassKey) {
        let Some(state) = self.classes.get(&class) else { return };
        self.classes.remove(&class);
        // The kernel side counts too: a race makes whole texts come later, or be looked for in vain, and no more.
        if state == TEXT_WANTED
            && let Some(wanted) = self.wanted.get(&0)
        {
            self.wanted.replace(&0, &wanted.saturating_sub(1));
        }
    }

    /// The postmaster is gone. What is known of the server stays: a backend may outlive its postmaster for a moment.
    pub fn leave(&mut self, postmaster: u32) {
        self.postmasters.remove(&postmaster);
    }

    /// Notes whether a cgroup of the server has a CPU quota.
    pub fn set_quota(&mut self, number: u32, quota: bool) {
        let Some(mut cluster) = self.entries.get(&number) else { return };
        if cluster.quota != u32::from(quota) {
            cluster.quota = quota.into();
            let _ = self.entries.set(&number, &cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_number_outlives_its_postmaster() {
        let entries: HashMap<u32, Cluster> = HashMap::new();
        let postmasters: HashMap<u32, u32> = HashMap::new();
        let classes: HashMap<ClassKey, u32> = [3, 4].map(|cluster| (ClassKey { key: 9, cluster }, TEXT_WANTED)).into();
        let mut clusters = Clusters {
            entries: Box::new(entries),
            postmasters: Box::new(postmasters),
            classes: Box::new(classes),
            wanted: Box::new(HashMap::from([(0_u32, 2_u64)])),
        };
        let known = Cluster { activity_size: 2048, ..Cluster::UNRESOLVED };
        clusters.follow(3, known, 100).expect("a table in memory");
        clusters.set_quota(3, true);
        assert_eq!(clusters.entries.get(&3), Some(Cluster { quota: 1, ..known }));
        assert_eq!(clusters.postmasters.get(&100), Some(3));
        clusters.leave(100);
        assert_eq!((clusters.postmasters.get(&100), clusters.entries.get(&3).map(|one| one.quota)), (None, Some(1)));
        clusters.follow(3, Cluster { activity_size: 512, ..known }, 200).expect("a table in memory");
        assert_eq!(clusters.entries.get(&3).map(|one| (one.activity_size, one.quota)), Some((512, 0)));
        clusters.forget_classes(3);
        assert_eq!(
            (clusters.classes.keys(), clusters.wanted.get(&0)),
            (vec![ClassKey { key: 9, cluster: 4 }], Some(1))
        );
        clusters.forget_keys(4, &[8, 9]);
        assert_eq!((clusters.classes.keys().len(), clusters.wanted.get(&0)), (0, Some(0)));
    }
}
