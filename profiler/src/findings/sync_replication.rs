//! Commits that wait for a standby.

use super::rule::{Confidence, Found, Rule};
use super::time::{in_waits, notable, percent, severity_of, waits, worst_statement};
use crate::report::model::{LedgerPart, Report};
use crate::vocabulary::Role;

pub const RULE: Rule = Rule { id: "sync_replication", about: is_standby, symptom: false, find };

fn is_standby(part: &LedgerPart) -> bool {
    waits(part, "IPC", "SyncRep")
}

fn find(report: &Report) -> Option<Found> {
    let cost = notable(report, is_standby)?;
    let mut evidence = vec![in_waits(&cost, "wait") + " of IPC:SyncRep"];
    evidence.extend(cost.each("a wait"));
    let senders: u64 = report.roles.iter().filter(|role| role.role == Role::WalSender).map(|role| role.processes).sum();
    evidence.push(format!("{senders} walsender processes were seen"));
    evidence.extend(worst_statement(report, is_standby));
    Some(Found {
        severity: severity_of(cost.share),
        confidence: Confidence::High,
        title: format!("{} of statement time is commits waiting for a synchronous standby", percent(cost.share)),
        evidence,
        advice: "See which standby is behind: SELECT application_name, state, sync_state, write_lag, flush_lag, \
                 replay_lag FROM pg_stat_replication. No line for one that synchronous_standby_names asks for means that \
                 commits wait until it is back. ANY 1 (a, b) waits for the faster of two; synchronous_commit = \
                 remote_write or local waits for less, also for one transaction (SET LOCAL)."
            .into(),
        explained_ns: cost.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;

    #[test]
    fn commits_wait_for_a_standby() {
        let mut report = testing::report(&[("cpu", "", 400), ("blocked", "IPC:SyncRep", 600)]);
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.title, "60.0 % of statement time is commits waiting for a synchronous standby");
        assert_eq!(found.evidence[..2], ["600 ms in 100 waits of IPC:SyncRep", "6.00 ms a wait"]);
        assert!(found.advice.contains("pg_stat_replication"));
        // A standby that is gone: no commit ends.
        report = testing::report(&[("cpu", "", 20)]);
        report.unfinished = vec![testing::open(7, "blocked", "IPC:SyncRep", 9_000)];
        assert!(find(&RULE, &report).unwrap().evidence[0].contains("9.00 s of it in statements still running"));
        assert_eq!(find(&RULE, &testing::report(&[("cpu", "", 400), ("blocked", "LWLock:SyncRep", 600)])), None);
    }
}
