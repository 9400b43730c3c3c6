//! The slow statements: what makes the slowest hundredth different from the rest, and the slowest ones themselves.

use super::blocking::describe;
use super::format::{count, duration, duration_f, percent, rate, tie};
use super::parts::{Line, lines, listed_with_time};
use super::table::Table;
use super::{Page, Style};
use crate::report::model::{Report, Tail};

/// Parts of the comparison that are shown.
const ROWS: usize = 8;
/// Parts of a slow statement that are named.
const PARTS: usize = 4;

/// A part of the statements' time: nanoseconds a statement among the slowest and among the rest.
struct Pair {
    line: Line,
    slow: f64,
    rest: f64,
}

fn pairs(tail: &Tail) -> Vec<Pair> {
    let each = |ns: u64, statements: u64| ns as f64 / statements.max(1) as f64;
    let mut out: Vec<Pair> =
        lines(&tail.ledger).into_iter().map(|line| Pair { slow: each(line.ns, tail.count), rest: 0.0, line }).collect();
    for line in lines(&tail.rest) {
        let rest = each(line.ns, tail.rest_count);
        match out.iter_mut().find(|pair| pair.line.is(&line)) {
            Some(pair) => pair.rest = rest,
            None => out.push(Pair { slow: 0.0, rest, line }),
        }
    }
    out.sort_by(|a, b| (b.slow - b.rest).total_cmp(&(a.slow - a.rest)));
    out
}

pub(super) fn tail(report: &Report, page: &mut Page) {
    let Some(tail) = report.tail.as_ref().filter(|tail| tail.count > 0) else { return };
    let share = tail.count as f64 / (tail.count + tail.rest_count).max(1) as f64;
    page.heading(&format!("WHAT MAKES THE SLOWEST {} DIFFERENT", percent(share)));
    let pairs = pairs(tail);
    let slow = tail.ledger.wall_ns as f64 / tail.count as f64;
    let rest = tail.rest.wall_ns as f64 / tail.rest_count.max(1) as f64;
    let extra = slow - rest;
    let mut text = format!(
        " {} statements of {} and more took {} each, the other {} took {}",
        count(tail.count),
        tie(&duration(tail.from_ns)),
        tie(&duration_f(slow)),
        count(tail.rest_count),
        tie(&duration_f(rest))
    );
    if let Some(top) = pairs.first().filter(|pair| extra > 0.0 && pair.slow > pair.rest) {
        let cause = if top.line.cause.is_empty() { String::new() } else { format!(" ({})", top.line.cause) };
        let part = (top.slow - top.rest) / extra;
        text.push_str(&format!(": {} of the difference is {}{cause}", tie(&percent(part)), tie(&top.line.name)));
    }
    page.wrapped(Style::Plain, &text, 2, 4);
    let mut table = Table::new()
        .number("OF DIFFERENCE", 2)
        .number("SLOWEST", 0)
        .number("REST", 0)
        .number("TIMES", 3)
        .text("TIME A STATEMENT SPENDS IN", 0)
        .name("KERNEL CAUSE", 1);
    // What is a trifle on both sides tells nothing.
    let counts = |pair: &&Pair| pair.slow >= 0.01 * slow || pair.rest >= 0.01 * rest;
    for pair in pairs.iter().filter(counts).take(ROWS) {
        let difference = (pair.slow - pair.rest) / extra;
        table.row(vec![
            if extra > 0.0 && difference >= 0.0 { percent(difference) } else { "-".into() },
            duration_f(pair.slow),
            duration_f(pair.rest),
            if pair.rest > 0.0 { rate(pair.slow / pair.rest) } else { "-".into() },
            pair.line.name.clone(),
            pair.line.cause.clone(),
        ]);
    }
    page.table(&table);
}

pub(super) fn slowest(report: &Report, page: &mut Page) {
    if report.slowest.is_empty() {
        return;
    }
    page.heading("SLOWEST STATEMENTS");
    for (i, slow) in report.slowest.iter().take(page.top).enumerate() {
        let who = match (&slow.user, &slow.database) {
            (Some(user), Some(database)) => format!("  {user} in {database}"),
            (Some(one), None) | (None, Some(one)) => format!("  {one}"),
            (None, None) => String::new(),
        };
        let error = if slow.error { "  ERROR" } else { "" };
        page.styled(
            Style::Bold,
            &format!(
                " {}  {}  begun at {}  pid {}{who}{error}",
                i + 1,
                duration(slow.latency_ns),
                duration(slow.began_ns),
                slow.pid
            ),
        );
        page.wrapped(Style::Plain, &format!("    {}", slow.query), 4, 2);
        let parts = listed_with_time(&slow.ledger, PARTS);
        if !parts.is_empty() {
            page.wrapped(Style::Plain, &format!("    in {parts}"), 7, 3);
        }
        if let Some(blocker) = &slow.blocker {
            page.wrapped(Style::Yellow, &format!("    waited for {}", describe(report, blocker)), 15, 3);
        }
    }
    page.more(report.slowest.len().saturating_sub(page.top), "slow statements");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{ledger, part};

    #[test]
    fn what_grows_most_stands_first() {
        let tail = Tail {
            from_ns: 50,
            count: 2,
            ledger: ledger(vec![
                part("cpu", "", None, 40, 1),
                part("blocked", "Lock:tuple", Some("semaphore"), 160, 1),
            ]),
            rest_count: 10,
            rest: ledger(vec![part("cpu", "", None, 100, 1), part("runnable", "", None, 50, 1)]),
        };
        let pairs = pairs(&tail);
        let seen: Vec<(&str, f64, f64)> =
            pairs.iter().map(|pair| (pair.line.name.as_str(), pair.slow, pair.rest)).collect();
        assert_eq!(seen, [("Lock:tuple", 80.0, 0.0), ("on CPU", 20.0, 10.0), ("waiting for a CPU", 0.0, 5.0)]);
    }
}
