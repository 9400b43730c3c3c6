//! Backends that must free memory before they get some: of their cgroup, or of the whole host.

use super::rule::{Confidence, Found, Rule};
use super::time::{caused, cost, duration, events, in_waits, listed, notable, percent, severity_of, worst_statement};
use crate::report::model::{LedgerPart, Report};

pub const RULE: Rule = Rule { id: "reclaim", about: is_reclaim, symptom: false, find };

fn is_reclaim(part: &LedgerPart) -> bool {
    caused(part, &["reclaim", "memcg_reclaim"])
}

fn find(report: &Report) -> Option<Found> {
    let all = notable(report, is_reclaim)?;
    let cgroup = cost(report, |part| caused(part, &["memcg_reclaim"]));
    let host = all.ns - cgroup.ns;
    let limit = cgroup.ns >= host;
    let mut evidence = vec![in_waits(&all, "wait") + " for memory to be freed"];
    evidence.push(format!(
        "{} below the limit of a cgroup, {} for the whole host's memory",
        duration(cgroup.ns),
        duration(host)
    ));
    evidence.push(format!("meanwhile in {}", listed(&events(report, is_reclaim), 3)));
    evidence.extend(worst_statement(report, is_reclaim));
    Some(Found {
        severity: severity_of(all.share),
        confidence: Confidence::High,
        title: if limit {
            format!("{} of statement time is freeing memory below the cgroup's limit", percent(all.share))
        } else {
            format!("{} of statement time is freeing memory: the host has none left", percent(all.share))
        },
        evidence,
        advice: if limit {
            "The cgroup of the server is full: raise memory.max and memory.high (MemoryMax=, MemoryHigh= of the \
             systemd unit, -m of docker, resources.limits.memory of Kubernetes); its memory.stat and \
             memory.events say what fills it. Or need less: shared_buffers, work_mem × connections, \
             maintenance_work_mem."
        } else {
            "The host is out of free memory: see what takes it (ps by RSS, SReclaimable and Dirty in /proc/meminfo), \
             move other services away or add memory; need less: shared_buffers, work_mem × connections; raise \
             vm.min_free_kbytes so that kswapd begins earlier."
        }
        .into(),
        explained_ns: all.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn tells_a_cgroup_from_the_host() {
        let find = |cause, ms| testing::find(&RULE, &testing::caused(400, &[("IO:DataFileRead", cause, ms)]));
        let found = find("memcg_reclaim", 600).unwrap();
        assert_eq!(found.title, "60.0 % of statement time is freeing memory below the cgroup's limit");
        assert_eq!(found.evidence[1], "600 ms below the limit of a cgroup, 0 ns for the whole host's memory");
        assert!(found.advice.contains("memory.max"));
        let found = find("reclaim", 600).unwrap();
        assert!(found.title.ends_with("the host has none left") && found.advice.contains("vm.min_free_kbytes"));
        assert_eq!(find("block_read", 600), None);
        assert_eq!(find("reclaim", 10), None);
    }
}
