//! Backends that must free memory before they get some: of their cgroup, or of the whole host.

use super::rule::{Confidence, Found, Rule};
use super::time::{
    bytes, caused, cost, duration, events, in_waits, is_notable, listed, number, percent, severity_of, share, short,
    worst_statement,
};
use crate::report::model::{LedgerPart, Memory, Reclaim, ReclaimBy, Report};
use crate::report::phrases::memory::limits;
use crate::vocabulary::{Cause, Role};

pub const RULE: Rule = Rule { id: "reclaim", about: is_reclaim, symptom: false, find };

/// Causes of sleeps for want of memory.
pub const CAUSES: [Cause; 4] = [Cause::Reclaim, Cause::MemcgReclaim, Cause::MemcgThrottle, Cause::MemcgOom];

fn is_reclaim(part: &LedgerPart) -> bool {
    caused(part, &CAUSES)
}

fn find(report: &Report) -> Option<Found> {
    let waits = cost(report, is_reclaim);
    let memory = &report.memory;
    // What parallel workers do meanwhile is none of the statements' time.
    let statements = memory.by.iter().filter(|by| by.query.is_some() && by.role != Role::ParallelWorker);
    let on_cpu = |of: fn(&ReclaimBy) -> &Reclaim| -> u64 { statements.clone().map(|by| of(by).cpu_ns).sum() };
    let (cgroup, host) = (on_cpu(|by| &by.cgroup), on_cpu(|by| &by.host));
    // Sleeps are in the ledger, time on the CPU is not told there; a wait for a CPU meanwhile is another cause's.
    let ns = waits.ns + cgroup + host;
    let share = share(report, ns);
    if !is_notable(report, ns) {
        return None;
    }
    let paused = cost(report, |part| caused(part, &[Cause::MemcgThrottle]));
    let stuck = cost(report, |part| caused(part, &[Cause::MemcgOom]));
    let in_cgroup = cost(report, |part| caused(part, &CAUSES[1..])).ns;
    let limit = in_cgroup + cgroup >= waits.ns - in_cgroup + host;
    let mut evidence = Vec::new();
    if memory.total_ns() > 0 {
        evidence.push(freed(memory));
        evidence.extend(memory.by.first().map(worst));
    }
    if waits.count > 0 {
        evidence.push(in_waits(&waits, "wait") + " for memory to be freed");
        evidence.push(format!(
            "{} below the limit of a cgroup, {} for the whole host's memory",
            duration(in_cgroup),
            duration(waits.ns - in_cgroup)
        ));
        if paused.count > 0 {
            evidence.push(in_waits(&paused, "pause") + " because the cgroup is above memory.high");
        }
        if stuck.count > 0 {
            evidence.push(
                in_waits(&stuck, "wait")
                    + " with the cgroup out of memory and nobody killed for it \
                           (oom_kill_disable in memory.oom_control)",
            );
        }
        evidence.push(format!("meanwhile in {}", listed(&events(report, is_reclaim), 3)));
    }
    evidence.extend(memory.limits.as_ref().filter(|_| limit).map(limits));
    evidence.extend(worst_statement(report, is_reclaim).filter(|_| memory.by.is_empty()));
    Some(Found {
        severity: severity_of(share),
        confidence: Confidence::High,
        title: if limit {
            format!("{} of statement time is freeing memory below the cgroup's limit", percent(share))
        } else {
            format!("{} of statement time is freeing memory: the host has none left", percent(share))
        },
        evidence,
        advice: if limit {
            "The cgroup of the server is full: raise memory.max and memory.high (MemoryMax=, MemoryHigh= of the \
             systemd unit, -m of docker, resources.limits.memory of Kubernetes; memory.limit_in_bytes of version 1); its \
             memory.stat and memory.events say what fills it. Or need less: shared_buffers, work_mem × connections, \
             maintenance_work_mem."
        } else {
            "The host is out of free memory: see what takes it (ps by RSS, SReclaimable and Dirty in /proc/meminfo), \
             move other services away or add memory; need less: shared_buffers, work_mem × connections; raise \
             vm.min_free_kbytes so that kswapd begins earlier."
        }
        .into(),
        explained_ns: ns,
    })
}

/// `backends freed 270 MiB themselves, 2,100 times, 210 ms in all, 90.0 % of it on the CPU; the longest took 4.20 ms`
fn freed(memory: &Memory) -> String {
    let of = |field: fn(&Reclaim) -> u64| field(&memory.host) + field(&memory.cgroup);
    format!(
        "backends freed {} themselves, {} times, {} in all, {} of it on the CPU; the longest took {}",
        bytes(of(|one| one.freed_bytes)),
        number(of(|one| one.count)),
        duration(memory.total_ns()),
        percent(of(|one| one.cpu_ns) as f64 / memory.total_ns().max(1) as f64),
        duration(memory.host.max_ns.max(memory.cgroup.max_ns))
    )
}

fn worst(by: &ReclaimBy) -> String {
    let what = match &by.query {
        Some(query) => format!("in: {}", short(query)),
        None => "outside statements".into(),
    };
    let (one, s) = (by.pids.len() as u64, if by.pids.len() == 1 { "" } else { "es" });
    format!("most of it, {}, by {} process{s} of the role {} {what}", duration(by.total_ns()), number(one), by.role)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::report::fixture;

    #[test]
    fn tells_a_cgroup_from_the_host() {
        let find = |cause, ms| testing::find(&RULE, &testing::caused(400, &[("IO:DataFileRead", cause, ms)]));
        let found = find("memcg_reclaim", 600).unwrap();
        assert_eq!(found.title, "60.0 % of statement time is freeing memory below the cgroup's limit");
        assert_eq!(found.evidence[1], "600 ms below the limit of a cgroup, 0 ns for the whole host's memory");
        assert!(found.advice.contains("memory.max"));
        let found = find("reclaim", 600).unwrap();
        assert!(found.title.ends_with("the host has none left") && found.advice.contains("vm.min_free_kbytes"));
        let found = find("memcg_throttle", 600).unwrap();
        assert!(found.evidence[2].ends_with("because the cgroup is above memory.high"), "{:?}", found.evidence);
        let found = find("memcg_oom", 600).unwrap();
        assert!(found.evidence[2].contains("nobody killed"), "{:?}", found.evidence);
        assert_eq!(find("block_read", 600), None);
        assert_eq!(find("reclaim", 10), None);
    }

    #[test]
    fn time_on_the_cpu_counts_and_the_limit_is_named() {
        let mut report = testing::caused(800, &[("IO:DataFileRead", "block_read", 200)]);
        assert_eq!(testing::find(&RULE, &report), None);
        report.memory = fixture::memory::busy();
        let found = testing::find(&RULE, &report).unwrap();
        assert_eq!(found.title, "18.0 % of statement time is freeing memory below the cgroup's limit");
        assert_eq!(found.explained_ns, 180_000_000);
        let said = found.evidence.join("\n");
        for needed in ["freed 270 MiB themselves, 2,100 times", "90.0 % of it on the CPU", "memory.max 1.00 GiB of"] {
            assert!(said.contains(needed), "{needed}: {said}");
        }
        // Outside statements it costs none of their time.
        report.memory.by.iter_mut().for_each(|by| by.query = None);
        assert_eq!(testing::find(&RULE, &report), None);
    }
}
