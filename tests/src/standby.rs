//! A primary with a standby that follows it by streaming replication.

use xtask::cluster::{Cluster, ClusterOptions};

use crate::{QUIET, cluster, psql, wait_until};

/// The standby goes first.
pub struct Pair {
    pub standby: Cluster,
    pub primary: Cluster,
}

impl Pair {
    /// Commits wait for the standby, which streams when this returns.
    pub fn synchronous() -> Self {
        let mut primary = cluster(ClusterOptions { tcp: true, ..ClusterOptions::with(QUIET) });
        primary.stop();
        let conninfo =
            format!("primary_conninfo = 'host=127.0.0.1 port={} user=postgres application_name=standby'", primary.port);
        let settings = [QUIET, &[conninfo.as_str(), "wal_retrieve_retry_interval = 100ms"]].concat();
        let standby_of = Some(primary.data.clone());
        let standby = cluster(ClusterOptions { standby_of, ..ClusterOptions::with(&settings) });
        primary.launch().expect("the primary again");
        let streaming = || psql(&primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1";
        wait_until("the standby streams", streaming);
        // In two messages: ALTER SYSTEM runs in no transaction block.
        psql(&primary, "ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        psql(&primary, "SELECT pg_reload_conf()");
        let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        wait_until("the standby is synchronous", || psql(&primary, synchronous) == "1");
        Self { standby, primary }
    }
}
