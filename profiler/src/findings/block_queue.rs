//! Statements that wait until a block device takes their request at all.

use super::rule::{Confidence, Found, Rule};
use super::time::{caused, cost, events, in_waits, is_notable, listed, percent, severity_of, worst_statement};
use crate::report::model::{LedgerPart, Report};

pub const RULE: Rule = Rule { id: "block_queue", about: is_block_queue, symptom: false, find };

fn is_block_queue(part: &LedgerPart) -> bool {
    caused(part, &["block_queue"])
}

fn find(report: &Report) -> Option<Found> {
    let cost = cost(report, is_block_queue);
    if !is_notable(report, cost.ns) {
        return None;
    }
    let mut evidence = vec![in_waits(&cost, "wait for room in a device's queue")];
    evidence.push(format!("meanwhile in {}", listed(&events(report, is_block_queue), 3)));
    evidence.extend(worst_statement(report, is_block_queue));
    Some(Found {
        severity: severity_of(cost.share),
        confidence: Confidence::High,
        title: format!("{} of statement time a block device took no request", percent(cost.share)),
        evidence,
        advice: "The request was not even in the device's queue. Single long waits: somebody closed the queue, to change its \
                 scheduler or its size, or to suspend it for a snapshot (dmsetup info, the log of the backup), or the device \
                 is being reset (dmesg). Many short ones: the queue is too small (/sys/block/*/queue/nr_requests), or the \
                 kernel holds writers back on purpose (queue/wbt_lat_usec, io.latency and io.cost of the cgroup)."
            .into(),
        explained_ns: cost.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_closed_queue_is_named() {
        let find = |cause| testing::find(&RULE, &testing::caused(400, &[("IO:DataFileRead", cause, 600)]));
        let found = find("block_queue").unwrap();
        assert_eq!(found.title, "60.0 % of statement time a block device took no request");
        assert_eq!(found.explained_ns, 600_000_000);
        assert_eq!(find("block_read"), None);
    }
}
