//! A statement that was still running at the end, and had been for most of the profile: no latency histogram holds it.

use super::rule::{Confidence, Found, Rule, Severity, nothing};
use super::time::{duration, percent, short, sql_pid};
use crate::report::model::{Report, Unfinished};
use crate::report::phrases::parts::part_name;

/// A symptom: why it is stuck is said by the rule on what it waits for.
pub const RULE: Rule = Rule { id: "stuck_statement", about: nothing, symptom: true, find };

/// From this part of the profile on, and this long, a statement counts as stuck.
const PART: f64 = 0.5;
const AT_LEAST_NS: u64 = 1_000_000_000;

fn find(report: &Report) -> Option<Found> {
    let is_stuck =
        |u: &&Unfinished| u.elapsed_ns >= AT_LEAST_NS && u.elapsed_ns as f64 >= report.duration_ns as f64 * PART;
    let stuck: Vec<&Unfinished> = report.unfinished.iter().filter(is_stuck).collect();
    let longest = stuck.iter().max_by_key(|u| u.elapsed_ns)?;
    let locked = stuck.iter().any(|u| top_wait(u).is_some_and(|(wait, _)| wait.starts_with("Lock:")));
    let evidence = stuck.iter().take(5).map(|u| {
        let before = if u.began_before { "at least " } else { "" };
        let waits = top_wait(u).map_or(String::new(), |(wait, share)| format!(", {} of it in {wait}", percent(share)));
        let text = u.query.as_deref().map_or("(text not known)".into(), short);
        format!("pid {}: {before}{}{waits}: {text}", u.pid, duration(u.elapsed_ns))
    });
    let pid = sql_pid(report, longest.pid);
    Some(Found {
        severity: Severity::Warning,
        confidence: Confidence::High,
        title: match stuck.len() {
            1 => format!("a statement of pid {} was still running after {}", longest.pid, duration(longest.elapsed_ns)),
            n => format!("{n} statements were still running, the longest after {}", duration(longest.elapsed_ns)),
        },
        evidence: evidence.collect(),
        advice: if locked {
            format!(
                "See who holds the lock: SELECT pid, state, xact_start, query FROM pg_stat_activity WHERE pid = ANY \
                 (pg_blocking_pids({pid})); bound such waits with lock_timeout."
            )
        } else {
            format!(
                "See what it does: SELECT * FROM pg_stat_activity WHERE pid = {pid}; bound such statements with \
                 statement_timeout."
            )
        },
        explained_ns: stuck.iter().map(|u| u.elapsed_ns).sum(),
    })
}

/// What it spent most time in, as `Type:Event` or a state, and the share.
fn top_wait(unfinished: &Unfinished) -> Option<(String, f64)> {
    let part = unfinished.ledger.parts.iter().max_by_key(|part| part.ns)?;
    (unfinished.ledger.wall_ns > 0).then(|| (part_name(part), part.ns as f64 / unfinished.ledger.wall_ns as f64))
}

#[cfg(test)]
mod tests {
    use super::super::testing::find;
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_waiting_alter_table_is_stuck() {
        let mut report = fixture::busy();
        let queued = report.unfinished.pop().unwrap();
        let found = find(&RULE, &report).unwrap();
        assert_eq!(found.title, "a statement of pid 2377 was still running after 10.0 s");
        assert!(
            found.evidence[0].starts_with("pid 2377: at least 10.0 s, 100.0 % of it in Lock:relation: ALTER"),
            "{:?}",
            found.evidence
        );
        assert!(found.advice.contains("pg_blocking_pids(2377)"));
        report.unfinished.push(queued);
        assert!(find(&RULE, &report).unwrap().title.starts_with("2 statements were still running, the longest after"));
        report.unfinished.truncate(1);
        report.unfinished[0].elapsed_ns = 400_000_000;
        assert_eq!(find(&RULE, &report), None);
    }
}
