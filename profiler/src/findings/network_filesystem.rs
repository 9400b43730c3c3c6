//! Statements that wait for whoever serves a file system: another host, or a process in user space.

use super::one_cause::OneCause;
use super::rule::{Confidence, Rule};
use crate::vocabulary::Cause;

pub const RULE: Rule = Rule {
    id: "network_filesystem",
    about: |part| WAITS.is_about(part),
    symptom: false,
    find: |report| WAITS.find(report),
};

const WAITS: OneCause = OneCause {
    cause: Cause::NetworkFilesystem,
    confidence: Confidence::High,
    wait: "request",
    title: "is waiting for the server of a file system",
    advice: "Files of PostgreSQL lie on a file system that another host serves (NFS, SMB, Ceph, 9p) or a process on this \
             one (FUSE): see which (findmnt, SHOW data_directory, pg_tablespace), whether it answers (dmesg, nfsstat, the \
             state of the process), and how far away it is. Local disks, or a block device over the network, answer \
             sooner.",
};

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_server_is_named() {
        let find = |cause| testing::find(&RULE, &testing::caused(200, &[("IO:DataFileRead", cause, 800)]));
        let found = find("network_filesystem").unwrap();
        assert_eq!(found.title, "80.0 % of statement time is waiting for the server of a file system");
        assert_eq!(found.explained_ns, 800_000_000);
        assert_eq!(find("block_read"), None);
    }
}
