//! What a report says was the matter: its first finding, and the largest part of a ledger.

use pgstrobe::report::model::{Ledger, LedgerPart, Report};

/// The parts' time by what Postgres calls the wait, `Type:Event`; by state where there is no wait event. Largest first.
pub fn shares(ledger: &Ledger) -> Vec<(String, u64)> {
    let mut sums = std::collections::BTreeMap::<String, u64>::new();
    for part in &ledger.parts {
        *sums.entry(part_name(part)).or_default() += part.ns;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    sums
}

fn part_name(part: &LedgerPart) -> String {
    match (part.state.as_ref(), &part.wait_event_type, &part.wait_event) {
        ("blocked", Some(kind), Some(event)) => format!("{kind}:{event}"),
        (state, ..) => state.to_string(),
    }
}

/// The largest part, with its share of the whole.
pub fn largest(ledger: &Ledger) -> (String, f64) {
    let (name, ns) = shares(ledger).into_iter().next().unwrap_or_default();
    (name, ns as f64 / ledger.wall_ns.max(1) as f64)
}

/// Time under one name of [`shares`].
pub fn time_of(ledger: &Ledger, name: &str) -> u64 {
    shares(ledger).into_iter().find(|(of, _)| of == name).map_or(0, |(_, ns)| ns)
}

/// The largest part of the statements' ledger is one of these; a name may end in `:` for all of a type.
#[track_caller]
pub fn assert_largest(ledger: &Ledger, expected: &[&str]) {
    let (name, share) = largest(ledger);
    println!("largest part: {name}, {:.1} %", share * 100.0);
    let fits = |of: &&str| name == **of || of.ends_with(':') && name.starts_with(*of);
    assert!(expected.iter().any(fits), "largest is {name}, not {expected:?}: {:?}", shares(ledger));
}

/// Findings about a CPU that others have.
const TAKEN: [&str; 3] = ["cpu_starved_by_others", "cpu_saturation", "steal"];

/// Share of the host's CPU time that was neither idle nor of the cluster's processes, by /proc/stat.
fn taken(report: &Report) -> f64 {
    let cpu = &report.host.cpu;
    cpu.total_ns.saturating_sub(cpu.idle_ns + cpu.cluster_ns) as f64 / cpu.total_ns.max(1) as f64
}

/// Whether a process that is neither the server's nor of the tests has kept the server waiting at a disk, as a compiler beside
/// them may.
fn disk_is_taken(report: &Report) -> bool {
    const OURS: [&str; 5] = ["postgres", "pgbench", "psql", "pgstrobe", "loop"];
    let strangers = report.storage.block.noise.iter().filter(|one| one.owner.kind == "process" && one.delay.count > 0);
    strangers.map(|one| &one.owner.name).any(|name| !OURS.iter().any(|ours| name.starts_with(ours)))
}

/// The first finding has this id; all of it, for what else is to be asserted. Where others have much of the host's CPU time, or
/// the disk, as on a machine with noisy neighbours, that may be said before.
#[track_caller]
pub fn assert_first<'a>(report: &'a Report, id: &str) -> &'a pgstrobe::report::model::Finding {
    let ids: Vec<&str> = report.findings.iter().map(|finding| finding.id.as_str()).collect();
    println!("findings: {ids:?}, {:.0} % of the CPUs taken by others", taken(report) * 100.0);
    let noise =
        |id: &str| taken(report) > 0.3 && TAKEN.contains(&id) || id == "noisy_neighbour" && disk_is_taken(report);
    let first = report.findings.iter().find(|finding| finding.id == id || !noise(&finding.id));
    assert_eq!(first.map(|finding| finding.id.as_str()), Some(id), "all findings: {:#?}", report.findings);
    first.expect("just asserted")
}
