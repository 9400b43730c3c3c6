//! Who was waited for.

use super::plural;
use crate::{
    page::{Block, Cell, Entry, Item, Line, Section, Tone},
    report::{
        model::{Blocking, Report},
        phrases::locks::{describe, what},
    },
    words::{count, duration, tie},
};

/// Lines of a chain that are shown.
const CHAIN: usize = 4;
/// Pids of waiters that are named.
const PIDS: usize = 6;

pub(super) fn section(report: &Report, top: usize) -> Option<Section> {
    if report.blocking.is_empty() {
        return None;
    }
    let entries = report.blocking.iter().take(top).map(|one| entry(report, one)).collect();
    let mut section = Section::new("WHO WAS WAITED FOR");
    section.blocks.push(Block::Entries { entries, spaced: true });
    section.more(report.blocking.len(), top, "waits");
    Some(section)
}

fn entry(report: &Report, one: &Blocking) -> Entry {
    let open = if one.waiting > 0 { format!(", {} still waiting", count(one.waiting)) } else { String::new() };
    let (waits, s, longest) = (count(one.count), plural(one.count), tie(&duration(one.max_ns)));
    let mut title = vec![
        Cell::Duration(one.total_ns).into(),
        Item::text(format!("{waits} wait{s}, longest {longest}{open}")),
        Item::text(what(one)),
    ];
    if one.cycle {
        title.push(Item::text("DEADLOCK"));
    }
    let tone = if one.waiting > 0 || one.cycle { Tone::Warning } else { Tone::Strong };
    let mut pids: Vec<String> = one.pids.iter().take(PIDS).map(u32::to_string).collect();
    if one.pids.len() > PIDS {
        pids.push(format!("{} more", one.pids.len() - PIDS));
    }
    let pids = if pids.is_empty() { String::new() } else { tie(&format!("pid {}: ", pids.join(", "))) };
    let about = |label: &'static str, text: String, most| Line::text(text).indent(4).label(label).wrap(12, most);
    let mut lines =
        vec![about("waited", format!("{pids}{}", one.query), 2), about("for", describe(report, &one.blocker), 3)];
    lines.extend(one.chain.iter().take(CHAIN).map(|link| about("and", link.clone(), 2)));
    if one.chain.len() > CHAIN {
        let left = one.chain.len() - CHAIN;
        lines.push(Line::text(format!("… and {left} more")).indent(12).tone(Tone::Faint));
    }
    Entry { title: Line::new(title).indent(1).tone(tone).wrap(4, 2), lines }
}
