//! Rules over the report that point to a cause.
//!
//! A rule is data and a function of the [`Report`] alone ([`Rule`]). It speaks only when the report holds the evidence,
//! which it cites, and its advice names the setting or the query to look at. A new rule is a file here and a line in
//! [`RULES`].

mod background_writeback;
mod block_queue;
mod block_read;
mod checkpoint_hurts;
mod checkpoint_storm;
mod client_slow;
mod cold_cache;
mod connection_churn;
mod cpu;
mod cpu_quota;
mod cpu_saturation;
mod cpu_starved_by_others;
mod data_lost;
mod deadlock;
mod dirty_throttle;
mod disk;
mod file_lock;
mod filesystem_frozen;
mod frozen;
mod fsync_errors;
mod full_page_writes;
mod group_commit;
mod idle_in_transaction;
mod idle_in_transaction_lock;
mod io_workers;
mod journal;
mod lock_waits;
mod locks;
mod lwlock_contention;
mod major_fault;
mod mmap_lock;
mod network_filesystem;
mod noisy_neighbour;
mod one_cause;
mod parallel_workers;
mod read_before_write;
mod reclaim;
mod relation_lock_queue;
mod rule;
mod sleep;
mod slow_device;
mod slow_wal_sync;
mod spill;
mod stable_pages;
mod steal;
mod stuck_statement;
mod sync_replication;
mod time;
mod wal;

use std::cmp::Reverse;

pub use rule::{Confidence, Found, Rule, Severity};

use crate::report::model::{Finding, LedgerPart, Report};

/// Every rule. Of two that explain the same time the earlier one stands first.
pub static RULES: &[Rule] = &[
    fsync_errors::RULE,
    data_lost::RULE,
    idle_in_transaction_lock::RULE,
    deadlock::RULE,
    relation_lock_queue::RULE,
    lock_waits::RULE,
    checkpoint_storm::RULE,
    checkpoint_hurts::RULE,
    full_page_writes::RULE,
    noisy_neighbour::RULE,
    block_queue::RULE,
    network_filesystem::RULE,
    slow_device::RULE,
    slow_wal_sync::RULE,
    group_commit::RULE,
    lwlock_contention::RULE,
    frozen::RULE,
    filesystem_frozen::RULE,
    cpu_quota::RULE,
    steal::RULE,
    cpu_starved_by_others::RULE,
    cpu_saturation::RULE,
    reclaim::RULE,
    dirty_throttle::RULE,
    stable_pages::RULE,
    journal::RULE,
    major_fault::RULE,
    mmap_lock::RULE,
    spill::RULE,
    io_workers::RULE,
    cold_cache::RULE,
    block_read::RULE,
    read_before_write::RULE,
    background_writeback::RULE,
    sync_replication::RULE,
    client_slow::RULE,
    sleep::RULE,
    connection_churn::RULE,
    parallel_workers::RULE,
    stuck_statement::RULE,
    idle_in_transaction::RULE,
];

/// The findings of all rules: what is critical first, then by the statement time they explain.
///
/// Time decides before severity does: what explains most of the time is the answer. A symptom stands behind the
/// findings that say why.
pub fn evaluate(report: &Report) -> Vec<Finding> {
    let mut found: Vec<(&Rule, Found)> = Vec::new();
    for rule in RULES.iter().filter(|rule| !rule.symptom) {
        found.extend((rule.find)(report).filter(|found| !found.evidence.is_empty()).map(|one| (rule, one)));
    }
    found.sort_by_key(|(_, one)| place(one));
    for rule in RULES.iter().filter(|rule| rule.symptom) {
        if let Some(symptom) = (rule.find)(report) {
            put_symptom(report, &mut found, rule, symptom);
        }
    }
    found.into_iter().map(|(rule, found)| found.into_finding(rule.id)).collect()
}

fn place(found: &Found) -> (bool, Reverse<u64>, Severity) {
    (found.severity != Severity::Critical, Reverse(found.explained_ns), found.severity)
}

/// Puts a symptom where the time belongs that no cause explains, and behind every cause of it.
fn put_symptom<'a>(report: &Report, found: &mut Vec<(&'a Rule, Found)>, rule: &'a Rule, mut symptom: Found) {
    let covers = |cause: &Rule, part: &LedgerPart| part.ns > 0 && (cause.about)(part);
    let parts = || report.unfinished.iter().flat_map(|open| &open.ledger.parts);
    let unexplained: u64 =
        parts().filter(|part| !found.iter().any(|(cause, _)| covers(cause, part))).map(|part| part.ns).sum();
    let causes = |one: &&(&Rule, Found)| parts().any(|part| covers(one.0, part));
    if found.iter().any(|one| causes(&one)) {
        symptom.explained_ns = symptom.explained_ns.min(unexplained);
    }
    let behind = found.iter().rposition(|one| causes(&one)).map_or(0, |last| last + 1);
    let at = found.partition_point(|(_, one)| place(one) <= place(&symptom));
    found.insert(at.max(behind), (rule, symptom));
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
