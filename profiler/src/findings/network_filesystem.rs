//! Statements that wait for whoever serves a file system: another host, or a process in user space.

use super::rule::{Confidence, Found, Rule};
use super::time::{caused, cost, events, in_waits, is_notable, listed, percent, severity_of, worst_statement};
use crate::report::model::{LedgerPart, Report};

pub const RULE: Rule = Rule { id: "network_filesystem", about: is_served, symptom: false, find };

fn is_served(part: &LedgerPart) -> bool {
    caused(part, &["network_filesystem"])
}

fn find(report: &Report) -> Option<Found> {
    let cost = cost(report, is_served);
    if !is_notable(report, cost.ns) {
        return None;
    }
    let mut evidence = vec![in_waits(&cost, "request")];
    evidence.push(format!("meanwhile in {}", listed(&events(report, is_served), 3)));
    evidence.extend(worst_statement(report, is_served));
    Some(Found {
        severity: severity_of(cost.share),
        confidence: Confidence::High,
        title: format!("{} of statement time is waiting for the server of a file system", percent(cost.share)),
        evidence,
        advice: "Files of PostgreSQL lie on a file system that another host serves (NFS, SMB, Ceph, 9p) or a process on this \
                 one (FUSE): see which (findmnt, SHOW data_directory, pg_tablespace), whether it answers (dmesg, nfsstat, the \
                 state of the process), and how far away it is. Local disks, or a block device over the network, answer \
                 sooner."
            .into(),
        explained_ns: cost.ns,
    })
}

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
