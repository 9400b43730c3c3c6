//! Sorts, hashes and results that do not fit into work_mem and go through temporary files.
//!
//! Writing a temporary file seldom sleeps: the page cache takes it. What it costs is CPU time, which is known from samples
//! that saw a backend on a CPU while it showed the wait event of a temporary file.

use super::rule::{Confidence, Found, Rule};
use super::time::{
    ENOUGH_NS, bytes, duration, in_waits, number, of_ledger, percent, severity_of, share, short, waits_in, whole,
};
use crate::report::model::{LedgerPart, Query, Report};
use crate::vocabulary::State;

pub const RULE: Rule = Rule { id: "spill", about: is_file, symptom: false, find };

/// The files are only what can be seen of a spill; the sort or hash takes longer because of it than that.
const WORTH: f64 = 0.03;

fn is_file(part: &LedgerPart) -> bool {
    waits_in(part, "IO", "BufFile")
}

/// What a class spends on temporary files: blocked, on CPU, and the samples that say so.
#[derive(Clone, Copy, Default)]
struct Spilt {
    blocked_ns: u64,
    cpu_ns: u64,
    samples: u64,
}

impl Spilt {
    fn ns(self) -> u64 {
        self.blocked_ns + self.cpu_ns
    }
}

fn spilt(query: &Query) -> Spilt {
    let all: u64 = query.cpu_samples.values().sum();
    let samples: u64 = query.cpu_samples.iter().filter(|(event, _)| is_file_event(event)).map(|(_, n)| n).sum();
    let cpu = of_ledger(&query.ledger, |part| part.state == State::Cpu).ns;
    let share = samples as f64 / all.max(1) as f64;
    Spilt { blocked_ns: of_ledger(&query.ledger, is_file).ns, cpu_ns: (cpu as f64 * share) as u64, samples }
}

fn is_file_event(event: &str) -> bool {
    event.get(..10).is_some_and(|head| head.eq_ignore_ascii_case("IO:BufFile"))
}

fn find(report: &Report) -> Option<Found> {
    let mut classes: Vec<(Spilt, &Query)> = report.queries.iter().map(|query| (spilt(query), query)).collect();
    classes.retain(|(spilt, _)| spilt.ns() > 0);
    classes.sort_by_key(|(spilt, _)| std::cmp::Reverse(spilt.ns()));
    let blocked = super::time::cost(report, is_file);
    let cpu_ns: u64 = classes.iter().map(|(spilt, _)| spilt.cpu_ns).sum();
    let samples: u64 = classes.iter().map(|(spilt, _)| spilt.samples).sum();
    let ns = blocked.ns + cpu_ns;
    let part = share(report, ns);
    if whole(report) < ENOUGH_NS || part < WORTH {
        return None;
    }
    let mut evidence = Vec::new();
    if blocked.ns > 0 {
        evidence.push(in_waits(&blocked, "wait") + " of IO:BufFileRead and IO:BufFileWrite");
    }
    if samples > 0 {
        evidence.push(format!(
            "about {} on CPU at the same ({} samples on a CPU showed it)",
            duration(cpu_ns),
            number(samples)
        ));
    }
    let temp = report.queries.iter().map(|query| &query.io.temp);
    let (written, read, size) =
        temp.fold((0, 0, 0), |sum, io| (sum.0 + io.write_bytes, sum.1 + io.read_bytes, sum.2 + io.extend_bytes));
    if written > 0 {
        evidence.push(format!(
            "{} written to temporary files of {} in all, {} read from them",
            bytes(written),
            bytes(size),
            bytes(read)
        ));
    }
    evidence.extend(classes.iter().take(3).map(|(spilt, query)| {
        let each = spilt.ns() / query.calls.max(1);
        let size = match query.io.temp.extend_bytes / query.calls.max(1) {
            0 => String::new(),
            size => format!(" and {} of files", bytes(size)),
        };
        format!("{}, {}{size} a call, in: {}", duration(spilt.ns()), duration(each), short(&query.query))
    }));
    Some(Found {
        severity: severity_of(part),
        // A handful of samples says that it happens, not how much.
        confidence: if blocked.ns > cpu_ns || samples >= 30 { Confidence::High } else { Confidence::Medium },
        title: format!("{} of statement time is reading and writing temporary files", percent(part)),
        evidence,
        advice: "The statement above needs more than work_mem: EXPLAIN (ANALYZE, BUFFERS) it and look for \"external \
                 merge\" and \"Batches\"; raise work_mem for it alone (SET LOCAL work_mem = '256MB'), or give it less to \
                 sort and hash (an index in that order, a filter); log_temp_files = 0 logs every such file."
            .into(),
        explained_ns: ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;

    #[test]
    fn waits_alone_suffice() {
        let report = testing::report(&[("cpu", "", 800), ("blocked", "IO:BufFileWrite", 200)]);
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.explained_ns, 200_000_000);
        assert!(found.evidence[0].starts_with("200 ms in 100 waits"), "{:?}", found.evidence);
    }

    #[test]
    fn samples_give_the_time_on_cpu() {
        let mut report = testing::report(&[("cpu", "", 1_000)]);
        assert_eq!(find(&RULE, &report), None);
        report.queries[0].cpu_samples =
            [("".into(), 60), ("IO:BufFileWrite".into(), 30), ("IO:BufFileRead".into(), 10)].into();
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.title, "40.0 % of statement time is reading and writing temporary files");
        assert_eq!(found.evidence[0], "about 400 ms on CPU at the same (40 samples on a CPU showed it)");
        assert_eq!(found.evidence[1], "400 ms, 400 µs a call, in: UPDATE t SET a = $1");
        assert!(found.advice.contains("work_mem"));
        report.queries[0].io.temp.write_bytes = 30 << 20;
        report.queries[0].io.temp.read_bytes = 20 << 20;
        report.queries[0].io.temp.extend_bytes = 10 << 20;
        let found = find(&RULE, &report).unwrap();
        assert_eq!(
            found.evidence[1],
            "30.0 MiB written to temporary files of 10.0 MiB in all, 20.0 MiB read from them"
        );
        assert_eq!(found.evidence[2], "400 ms, 400 µs and 10.2 KiB of files a call, in: UPDATE t SET a = $1");
        report.queries[0].cpu_samples = [("".into(), 99), ("IO:BufFileWrite".into(), 1)].into();
        assert_eq!(find(&RULE, &report), None);
    }
}
