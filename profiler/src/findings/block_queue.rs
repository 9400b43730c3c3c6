//! Statements that wait until a block device takes their request at all.

use super::one_cause::OneCause;
use super::rule::{Confidence, Rule};
use crate::vocabulary::Cause;

pub const RULE: Rule =
    Rule { id: "block_queue", about: |part| WAITS.is_about(part), symptom: false, find: |report| WAITS.find(report) };

const WAITS: OneCause = OneCause {
    cause: Cause::BlockQueue,
    confidence: Confidence::High,
    wait: "wait for room in a device's queue",
    title: "a block device took no request",
    advice: "The request was not even in the device's queue. Single long waits: somebody closed the queue, to change its \
             scheduler or its size, or to suspend it for a snapshot (dmsetup info, the log of the backup), or the device \
             is being reset (dmesg). Many short ones: the queue is too small (/sys/block/*/queue/nr_requests), or the \
             kernel holds writers back on purpose (queue/wbt_lat_usec, io.latency and io.cost of the cgroup).",
};

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
