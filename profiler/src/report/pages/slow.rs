//! The slow statements: what makes the slowest hundredth different from the rest, and the slowest ones themselves.

use super::whose;
use crate::{
    page::{Block, Cell, Entry, Item, Line, Section, Table, Tone},
    report::{
        model::{Report, Slow, Tail, sum},
        phrases::{
            locks::describe,
            parts::{self, lines, listed_with_time},
        },
    },
    words::{count, duration, duration_f, percent, tie},
};

/// Parts of the comparison that are shown.
const ROWS: usize = 8;
/// Parts of a slow statement that are named.
const PARTS: usize = 4;

/// A part of the statements' time: nanoseconds a statement among the slowest and among the rest.
struct Pair {
    line: parts::Line,
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

pub(super) fn tail(report: &Report) -> Option<Section> {
    let tail = report.tail.as_ref().filter(|tail| tail.count > 0)?;
    let share = tail.count as f64 / sum([tail.count, tail.rest_count]).max(1) as f64;
    let pairs = pairs(tail);
    let slow = tail.ledger.wall_ns as f64 / tail.count as f64;
    let rest = tail.rest.wall_ns as f64 / tail.rest_count.max(1) as f64;
    let extra = slow - rest;
    let mut text = format!(
        "the {} statements of at least {} took {} on average, the other {} took {}",
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
    let mut section = Section::new(format!("WHAT MAKES THE SLOWEST {} DIFFERENT", percent(share)));
    section.line(Line::text(text).indent(1).wrap(2, 4));
    let mut table = Table::default()
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
            Cell::Share(difference).when(extra > 0.0 && difference >= 0.0),
            Cell::mean(pair.slow),
            Cell::mean(pair.rest),
            Cell::Rate(pair.slow / pair.rest).when(pair.rest > 0.0),
            Cell::name(&pair.line.name),
            Cell::name(&pair.line.cause),
        ]);
    }
    section.table(table);
    Some(section)
}

pub(super) fn slowest(report: &Report, top: usize) -> Option<Section> {
    if report.slowest.is_empty() {
        return None;
    }
    let mut section = Section::new("SLOWEST STATEMENTS");
    let entries = report.slowest.iter().take(top).enumerate().map(|(at, slow)| entry(report, at, slow)).collect();
    section.blocks.push(Block::Entries { entries, spaced: false });
    section.more(report.slowest.len(), top, "slow statements");
    Some(section)
}

fn entry(report: &Report, at: usize, slow: &Slow) -> Entry {
    let mut title: Vec<Item> = vec![
        Cell::Id(at as u64 + 1).into(),
        Cell::Duration(slow.latency_ns).into(),
        Item::new("begun at", Cell::Duration(slow.began_ns)),
        Item::new("pid", Cell::Id(slow.pid.into())),
    ];
    title.extend(whose(slow.user.as_ref(), slow.database.as_ref()));
    if slow.error {
        title.push(Item::text("ERROR"));
    }
    let mut lines = vec![Line::new(vec![Cell::code(&slow.query).into()]).indent(4).wrap(4, 2)];
    let parts = listed_with_time(&slow.ledger, PARTS);
    if !parts.is_empty() {
        lines.push(Line::text(parts).indent(4).label("in").wrap(7, 3));
    }
    if let Some(blocker) = &slow.blocker {
        let text = describe(report, blocker);
        lines.push(Line::text(text).indent(4).label("waited for").tone(Tone::Warning).wrap(15, 3));
    }
    Entry { title: Line::new(title).indent(1).tone(Tone::Strong), lines }
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
