//! The parts of a ledger as lines: wait event and kernel cause side by side.

use crate::{
    report::model::{Ledger, LedgerPart, sum},
    vocabulary::{Cause, State, Word},
    words::{duration, percent, tie},
};

/// Causes that only say how the server sleeps in that wait event; short lists leave them out.
const USUAL: [Cause; 11] = [
    Cause::Futex,
    Cause::Semaphore,
    Cause::Poll,
    Cause::SocketRead,
    Cause::SocketWrite,
    Cause::Sleep,
    Cause::Other,
    Cause::Pipe,
    Cause::Fsync,
    Cause::BlockRead,
    Cause::Woken,
];

/// A part's name: its wait event, or its state where it has none.
pub(crate) fn part_name(part: &LedgerPart) -> String {
    let state = part.state.known();
    match (&part.wait_event_type, &part.wait_event, state) {
        (.., Some(State::Idle)) => "idle".into(),
        (.., Some(State::IdleInTransaction)) => "idle in transaction".into(),
        (Some(class), Some(event), _) => format!("{class}:{event}"),
        (Some(class), None, _) => class.clone().into_owned(),
        (.., Some(State::Cpu)) => "on CPU".into(),
        (.., Some(State::Interrupted)) => "CPU taken by others".into(),
        (.., Some(State::Runnable)) => "waiting for a CPU".into(),
        (.., Some(State::Blocked)) => "no wait event".into(),
        (.., Some(State::Unattributed) | None) => part.state.to_string(),
    }
}

/// One line of an account.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    pub state: Word<State>,
    pub name: String,
    /// Empty for none.
    pub cause: Word<Cause>,
    pub ns: u64,
    /// As in [`LedgerPart::p99_ns`].
    pub p99_ns: Option<u64>,
}

impl Line {
    fn of(part: &LedgerPart) -> Line {
        Line {
            state: part.state.clone(),
            name: part_name(part),
            cause: part.cause.clone().unwrap_or_default(),
            ns: 0,
            p99_ns: None,
        }
    }

    pub(crate) fn is(&self, other: &Line) -> bool {
        (&self.state, &self.name, &self.cause) == (&other.state, &other.name, &other.cause)
    }

    /// The name, with the cause where that says more.
    fn label(&self) -> String {
        let has_event = self.name != "no wait event";
        let usual = has_event && self.cause.known().is_some_and(|cause| USUAL.contains(&cause));
        if usual || self.cause.is_empty() { self.name.clone() } else { format!("{} ({})", self.name, self.cause) }
    }
}

/// The parts of a ledger, largest first, and what is missing to the wall time as `unattributed`.
pub(crate) fn lines(ledger: &Ledger) -> Vec<Line> {
    together([ledger])
}

/// The parts of several ledgers.
pub(crate) fn together<'a>(ledgers: impl IntoIterator<Item = &'a Ledger>) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    let mut missing = 0;
    for ledger in ledgers {
        let parts = sum(ledger.parts.iter().map(|part| part.ns));
        missing = sum([missing, ledger.wall_ns.saturating_sub(parts)]);
        for part in ledger.parts.iter().filter(|part| part.ns > 0) {
            if part.state == State::Unattributed {
                missing = sum([missing, part.ns]);
                continue;
            }
            let line = Line::of(part);
            let at = out.iter().position(|one| one.is(&line)).unwrap_or_else(|| {
                out.push(line);
                out.len() - 1
            });
            out[at].ns = sum([out[at].ns, part.ns]);
            out[at].p99_ns = out[at].p99_ns.max(part.p99_ns);
        }
    }
    if missing > 0 {
        let state = State::Unattributed;
        out.push(Line { state: state.into(), name: state.name().into(), ns: missing, ..Line::default() });
    }
    out.sort_by_key(|line| std::cmp::Reverse(line.ns));
    out
}

/// The largest parts of a ledger on one line: `IO:WalSync 45.1 %, on CPU 24.3 %`.
pub(crate) fn listed(ledger: &Ledger, most: usize) -> String {
    named(&lines(ledger), most, |line, whole| format!("{} {}", line.label(), percent(line.ns as f64 / whole as f64)))
}

/// The largest parts of several ledgers on one line.
pub(crate) fn listed_together<'a>(ledgers: impl IntoIterator<Item = &'a Ledger>, most: usize) -> String {
    named(&together(ledgers), most, |line, whole| {
        format!("{} {}", line.label(), percent(line.ns as f64 / whole as f64))
    })
}

/// The same with the time of each: `Lock:tuple 1.20 s (92.0 %)`.
pub(crate) fn listed_with_time(ledger: &Ledger, most: usize) -> String {
    named(&lines(ledger), most, |line, whole| {
        format!("{} {} ({})", line.label(), duration(line.ns), percent(line.ns as f64 / whole as f64))
    })
}

fn named(lines: &[Line], most: usize, name: impl Fn(&Line, u64) -> String) -> String {
    // Causes that are not shown do not make two entries of one event.
    let mut merged: Vec<Line> = Vec::new();
    for line in lines {
        match merged.iter_mut().find(|one| one.label() == line.label()) {
            Some(one) => one.ns = sum([one.ns, line.ns]),
            None => merged.push(line.clone()),
        }
    }
    merged.sort_by_key(|line| std::cmp::Reverse(line.ns));
    let whole = sum(merged.iter().map(|line| line.ns)).max(1);
    let texts: Vec<String> = merged.iter().take(most).map(|line| tie(&name(line, whole))).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{ledger, part};

    #[test]
    fn event_and_cause_make_a_line() {
        let mut account = ledger(vec![
            part("blocked", "IO:DataFileRead", Some("block_read"), 40, 1),
            part("blocked", "IO:DataFileRead", Some("reclaim"), 30, 1),
            part("blocked", "", Some("major_fault"), 20, 1),
            part("runnable", "", Some("woken"), 6, 1),
            part("runnable", "", Some("cpu_quota"), 4, 1),
        ]);
        account.wall_ns += 100;
        let all = lines(&account);
        assert_eq!((all[0].name.as_str(), all[0].ns), ("unattributed", 100));
        assert_eq!((all[1].name.as_str(), all[1].cause.as_str()), ("IO:DataFileRead", "block_read"));
        assert_eq!(all.iter().map(|line| line.ns).sum::<u64>(), account.wall_ns);
        account.wall_ns -= 100;
        assert_eq!(
            listed(&account, 4).replace('\u{a0}', " "),
            "IO:DataFileRead 40.0 %, IO:DataFileRead (reclaim) 30.0 %, no wait event (major_fault) 20.0 %, \
             waiting for a CPU 6.0 %"
        );
    }
}
