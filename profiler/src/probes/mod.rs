//! The registry of probes. A probe is data: the `--help`, `pgstrobe probes`, the README's table and the attach loop all
//! derive from [`PROBES`].

mod block;
mod blockers;
mod files;
mod fsync;
mod ledger;
mod lifecycle;
mod memory;
mod statement;
mod statement_entry;
mod text;
mod writeback;

use pgstrobe_common::hits::Hit;
use serde::Serialize;

/// How much is measured; each level contains the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Waits and on-CPU time of every backend; no statements.
    Sample,
    /// Exact statements, their ledger, fsync. Plants no trap in Postgres.
    Standard,
    /// Chosen traps in Postgres.
    Detail,
}

impl Level {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Standard => "standard",
            Self::Detail => "detail",
        }
    }
}

/// One thing pgstrobe can measure.
pub struct Probe {
    pub name: &'static str,
    pub help: &'static str,
    pub level: Level,
    /// What its numbers are in.
    pub unit: &'static str,
    /// What they are told apart by.
    pub labels: &'static [&'static str],
    /// Without it there is no profile.
    pub essential: bool,
    /// Ways to feed it, the best first; the first whose hooks all attach is used.
    pub ways: &'static [Way],
    /// What the report cannot show without the probe.
    pub without: &'static str,
    /// What its programs count their runs under. A program that several probes share has a kind of its own.
    pub hit_kinds: &'static [Hit],
    /// Does once what every one of the `hit_kinds` counts, to prove that the hooks are met.
    pub exercise: Option<fn() -> std::io::Result<()>>,
}

/// One set of hooks that feeds a probe.
pub struct Way {
    pub name: &'static str,
    pub hooks: &'static [Hook],
    /// What is lost against the first way; empty for the first.
    pub loses: &'static str,
}

/// One attachment of one eBPF program. Several probes may have the same one: its program hands what it meets to each of them,
/// is attached with the first, and is in the cost of that one.
pub struct Hook {
    pub program: &'static str,
    pub point: Point,
}

/// Where a program is attached.
pub enum Point {
    /// The first of these tracepoints that exists, with `|` between them: some were renamed.
    TpBtf(&'static str),
    /// A second program of a tracepoint, only where the kernel leaves out runs of the first ([`Btf::preempts_tracepoints`]).
    TpBtfAgain(&'static str),
    /// The first of these kernel functions that exists.
    Fexit(&'static [&'static str]),
    Tracepoint(&'static str, &'static str),
    /// A timer on every CPU, in hertz.
    CpuClock(u64),
    /// A function or USDT of the server, by its name in [`statement_entry`].
    Server(&'static str),
}

impl Point {
    /// As shown to people: `tp_btf/sched_switch`.
    pub fn describe(&self) -> String {
        match self {
            Self::TpBtf(name) => format!("tp_btf/{name}"),
            Self::TpBtfAgain(name) => format!("tp_btf/{name} (again)"),
            Self::Fexit(names) => format!("fexit/{}", names.join("|")),
            Self::Tracepoint(category, name) => format!("tracepoint/{category}/{name}"),
            Self::CpuClock(hz) => format!("perf_event/cpu-clock@{hz}Hz"),
            Self::Server(name) => format!("uprobe/{name}"),
        }
    }
}

/// All probes, in the order they are attached: who lives and dies first, so that nothing begins unseen.
pub static PROBES: &[&Probe] = &[
    &lifecycle::PROBE,
    &ledger::PROBE,
    &statement::PROBE,
    &statement_entry::PROBE,
    &text::PROBE,
    &fsync::PROBE,
    &blockers::PROBE,
    &memory::PROBE,
    &files::PROBE,
    &writeback::PROBE,
    &block::PROBE,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Programs of the embedded object, by the symbols in its program sections.
    fn programs() -> BTreeSet<String> {
        let object = aya_obj::Object::parse(crate::instrument::OBJECT).expect("the embedded object parses");
        object.programs.keys().cloned().collect()
    }

    #[test]
    fn every_program_belongs_to_a_hook_and_every_hook_to_a_program() {
        let programs = programs();
        let hooks: BTreeSet<String> = PROBES
            .iter()
            .flat_map(|probe| probe.ways)
            .flat_map(|way| way.hooks)
            .map(|hook| hook.program.to_owned())
            .collect();
        assert_eq!(programs, hooks);
    }

    /// Programs that more than one probe reads along in. Such probes are of one level: the program does the work of all.
    const SHARED: [&str; 8] = [
        "sys_enter_pwrite64",
        "sys_enter_pwritev",
        "sys_enter_write",
        "sys_enter_writev",
        "sys_exit_pwrite64",
        "sys_exit_pwritev",
        "sys_exit_write",
        "sys_exit_writev",
    ];

    #[test]
    fn programs_of_several_probes_are_declared() {
        let mut probes_of = std::collections::BTreeMap::<&str, Vec<(&Probe, String)>>::new();
        for probe in PROBES {
            for hook in probe.ways.iter().flat_map(|way| way.hooks) {
                let of = probes_of.entry(hook.program).or_default();
                if of.iter().all(|(known, _)| known.name != probe.name) {
                    of.push((probe, hook.point.describe()));
                }
            }
        }
        probes_of.retain(|_, probes| probes.len() > 1);
        assert!(probes_of.keys().eq(&SHARED), "{:?}", probes_of.keys());
        for (program, probes) in probes_of {
            let ((first, point), others) = probes.split_first().expect("more than one");
            for (other, elsewhere) in others {
                assert_eq!((first.level, point), (other.level, elsewhere), "{program}");
                let shared = first.hit_kinds.iter().filter(|kind| other.hit_kinds.contains(kind)).count();
                assert_eq!(shared, 1, "{program}: its runs are counted under a kind of both probes");
            }
        }
    }

    #[test]
    fn fallbacks_say_what_they_lose_and_names_are_unique() {
        let mut names = BTreeSet::new();
        for probe in PROBES {
            assert!(names.insert(probe.name), "{} is named twice", probe.name);
            assert!(!probe.ways.is_empty() && !probe.without.is_empty());
            for (i, way) in probe.ways.iter().enumerate() {
                assert_eq!(way.loses.is_empty(), i == 0, "{}: {}", probe.name, way.name);
            }
        }
    }
}
