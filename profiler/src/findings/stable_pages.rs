//! Statements that wait until a page is written, before they may change or drop it.

use super::file_lock;
use super::rule::{Confidence, Found, Rule};
use super::time::{caused, cost, events, in_waits, is_notable, listed, percent, severity_of, share, worst_statement};
use crate::report::model::{LedgerPart, Report, WritebackSettings};
use crate::report::phrases::writeback::settings;
use crate::vocabulary::Cause;

pub const RULE: Rule = Rule { id: "stable_pages", about: is_about, symptom: false, find };

fn is_page_wait(part: &LedgerPart) -> bool {
    caused(part, &[Cause::WritebackWait])
}

fn is_about(part: &LedgerPart) -> bool {
    is_page_wait(part) || file_lock::is_queue(part)
}

/// Under these Postgres changes files; under none of them it may be dropping one.
fn is_write(event: &str) -> bool {
    event.starts_with("IO:") && (event.ends_with("Write") || event.ends_with("Extend"))
}

fn find(report: &Report) -> Option<Found> {
    let cost = cost(report, is_page_wait);
    let queue = file_lock::queue(report, Cause::WritebackWait);
    let explained_ns = cost.ns + queue.ns;
    if cost.ns == 0 || !is_notable(report, explained_ns) {
        return None;
    }
    let share = share(report, explained_ns);
    let events = events(report, is_page_wait);
    let writes: u64 = events.iter().filter(|(event, _)| is_write(event)).map(|(_, ns)| ns).sum();
    let stable = writes * 2 >= cost.ns;
    let mut evidence = vec![in_waits(&cost, "wait") + " for a page on its way to the disk"];
    evidence.push(format!("meanwhile in {}", listed(&events, 3)));
    evidence.extend(cost.each("a wait"));
    if queue.ns > 0 {
        evidence.push(in_waits(&queue, "wait") + " for the lock of a file that such a writer holds meanwhile");
    }
    evidence.extend(worst_statement(report, is_page_wait));
    let set = &report.storage.writeback.settings;
    if *set != WritebackSettings::default() {
        evidence.push(format!("set are {}", settings(set)));
    }
    Some(Found {
        severity: severity_of(share),
        confidence: if stable { Confidence::High } else { Confidence::Medium },
        title: if stable {
            format!("{} of statement time is waiting to change pages that are being written", percent(share))
        } else {
            format!("{} of statement time is waiting for pages that are being written", percent(share))
        },
        evidence,
        advice: if stable {
            "The file system or device needs a page unchanged while it is written (checksums: 1 in \
             queue/stable_writes below /sys/block/DEVICE, btrfs). Let pages be written less often: larger shared_buffers; \
             backend_flush_after, bgwriter_flush_after and checkpoint_flush_after = 0, so that the kernel gathers \
             changes; a longer checkpoint_timeout and larger max_wal_size. And a disk with less latency."
        } else {
            "Files that are dropped or cut (DROP, TRUNCATE, temporary files) wait for their pages under writeback: let \
             less be written that is soon dropped (work_mem for temporary files, temporary tables within temp_buffers), \
             with backend_flush_after = 0; see iostat -x for the disk's latency."
        }
        .into(),
        explained_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn waits_for_pages_are_said() {
        let find = |event, cause, ms| testing::find(&RULE, &testing::caused(400, &[(event, cause, ms)]));
        let found = find("IO:DataFileWrite", "writeback_wait", 600).unwrap();
        assert_eq!(found.title, "60.0 % of statement time is waiting to change pages that are being written");
        assert_eq!(found.evidence[0], "600 ms in 100 waits for a page on its way to the disk");
        assert!(found.advice.contains("stable_writes") && found.confidence == Confidence::High);
        let found = find("IO:DataFileTruncate", "writeback_wait", 600).unwrap();
        assert!(found.advice.contains("DROP") && found.confidence == Confidence::Medium);
        assert_eq!(find("IO:DataFileWrite", "block_write", 600), None);
        assert_eq!(find("IO:DataFileWrite", "writeback_wait", 20), None);
    }
}
