//! The time of statements that rules weigh: that of those which ended and of those still open at the end.
//!
//! Without the open ones a report is silent on the worst of nights: when everybody waits for one idle transaction,
//! nothing ends, and the account of what ended shows nothing.

use std::borrow::Cow;

use super::rule::Severity;
use crate::report::model::{Ledger, LedgerPart, Report};
use crate::vocabulary::{Cause, State};
pub use crate::words::{bytes, count as number, duration, percent, short};

/// Share of the statements' time from which on a cause is worth a sentence.
pub const NOTABLE: f64 = 0.10;
/// And from which on it is a warning.
pub const LARGE: f64 = 0.30;
/// Statement time below which shares mean nothing, in nanoseconds.
pub const ENOUGH_NS: u64 = 10_000_000;

/// Sleeps in this wait event; an empty name stands for all of the type.
pub fn waits(part: &LedgerPart, class: &str, event: &str) -> bool {
    let is = |given: &Option<Cow<str>>, wanted: &str| given.as_deref().is_some_and(|g| g.eq_ignore_ascii_case(wanted));
    part.state == State::Blocked
        && is(&part.wait_event_type, class)
        && (event.is_empty() || is(&part.wait_event, event))
}

/// Sleeps in a wait event of this type whose name begins like this.
pub fn waits_in(part: &LedgerPart, class: &str, prefix: &str) -> bool {
    let starts = |event: &str| event.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    waits(part, class, "") && part.wait_event.as_deref().is_some_and(starts)
}

/// Sleeps for one of these causes in the kernel.
pub fn caused(part: &LedgerPart, causes: &[Cause]) -> bool {
    part.state == State::Blocked && part.cause().is_some_and(|cause| causes.contains(&cause))
}

/// Time and count of the parts a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub ns: u64,
    pub count: u64,
    /// Of `ns`, what belongs to statements still open at the end.
    pub open_ns: u64,
    /// Of the time of all statements, 0 to 1.
    pub share: f64,
}

impl Cost {
    /// `6.00 ms a wait`, where there were any.
    pub fn each(&self, what: &str) -> Option<String> {
        self.ns.checked_div(self.count).map(|ns| format!("{} {what}", duration(ns)))
    }
}

/// The parts of one ledger.
pub fn of_ledger(ledger: &Ledger, of: impl Fn(&LedgerPart) -> bool) -> Cost {
    let mut out = Cost::default();
    for part in ledger.parts.iter().filter(|part| of(part)) {
        out.ns += part.ns;
        out.count += part.count;
    }
    out.share = out.ns as f64 / ledger.wall_ns.max(1) as f64;
    out
}

/// The time of all statements, ended or open.
pub fn whole(report: &Report) -> u64 {
    report.statements.ledger.wall_ns + report.unfinished.iter().map(|open| open.ledger.wall_ns).sum::<u64>()
}

/// A time as a share of [`whole`].
pub fn share(report: &Report, ns: u64) -> f64 {
    ns as f64 / whole(report).max(1) as f64
}

/// The cost of these parts in all statements.
pub fn cost(report: &Report, of: impl Fn(&LedgerPart) -> bool) -> Cost {
    let mut out = of_ledger(&report.statements.ledger, &of);
    for open in &report.unfinished {
        let one = of_ledger(&open.ledger, &of);
        out.ns += one.ns;
        out.count += one.count;
        out.open_ns += one.ns;
    }
    out.share = share(report, out.ns);
    out
}

/// Whether this much statement time is worth a sentence.
pub fn is_notable(report: &Report, ns: u64) -> bool {
    whole(report) >= ENOUGH_NS && share(report, ns) >= NOTABLE
}

/// The cost of these parts in all statements when it is notable.
pub fn notable(report: &Report, of: impl Fn(&LedgerPart) -> bool) -> Option<Cost> {
    let cost = cost(report, of);
    is_notable(report, cost.ns).then_some(cost)
}

pub fn severity_of(share: f64) -> Severity {
    if share >= LARGE { Severity::Warning } else { Severity::Info }
}

/// `9.99 s in 120 waits, 4.00 s of it in statements still running at the end`
pub fn in_waits(cost: &Cost, what: &str) -> String {
    let s = if cost.count == 1 { "" } else { "s" };
    let open = match cost.open_ns {
        0 => String::new(),
        ns => format!(", {} of it in statements still running at the end", duration(ns)),
    };
    format!("{} in {} {what}{s}{open}", duration(cost.ns), number(cost.count))
}

/// The statement class, or the open statement, that spent most time in these parts.
pub fn worst_statement(report: &Report, of: impl Fn(&LedgerPart) -> bool) -> Option<String> {
    let class = report.queries.iter().map(|query| (of_ledger(&query.ledger, &of).ns, query)).max_by_key(|one| one.0);
    let open = report.unfinished.iter().map(|open| (of_ledger(&open.ledger, &of).ns, open)).max_by_key(|one| one.0);
    let class_ns = class.map_or(0, |(ns, _)| ns);
    match (class, open) {
        (_, Some((ns, open))) if ns > class_ns => Some(format!(
            "most of it, {}, in a statement of pid {} that was still running: {}",
            duration(ns),
            open.pid,
            open.query.as_deref().map_or("(text not known)".into(), short)
        )),
        (Some((ns, query)), _) if ns > 0 => {
            Some(format!("most of it, {}, in {} calls of: {}", duration(ns), number(query.calls), short(&query.query)))
        }
        _ => None,
    }
}

/// The wait events of these parts, the largest first: (`Type:Event`, its time).
pub fn events(report: &Report, of: impl Fn(&LedgerPart) -> bool) -> Vec<(String, u64)> {
    let mut out: Vec<(String, u64)> = Vec::new();
    let open = report.unfinished.iter().map(|open| &open.ledger);
    for part in std::iter::once(&report.statements.ledger).chain(open).flat_map(|ledger| &ledger.parts) {
        if !of(part) {
            continue;
        }
        let event = part.wait_event.as_deref().unwrap_or("no wait event");
        let name = part.wait_event_type.as_deref().map_or(event.to_owned(), |class| format!("{class}:{event}"));
        match out.iter_mut().find(|(known, _)| *known == name) {
            Some((_, ns)) => *ns += part.ns,
            None => out.push((name, part.ns)),
        }
    }
    out.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    out
}

/// `Lock:tuple 1.20 s, Lock:relation 300 ms`
pub fn listed(events: &[(String, u64)], most: usize) -> String {
    let named: Vec<String> = events.iter().take(most).map(|(name, ns)| format!("{name} {}", duration(*ns))).collect();
    named.join(", ")
}

/// The pid as the server itself knows it: another one where it runs in a container.
pub fn sql_pid(report: &Report, pid: u32) -> u32 {
    report.backends.iter().find(|backend| backend.pid == pid).and_then(|backend| backend.namespace_pid).unwrap_or(pid)
}
