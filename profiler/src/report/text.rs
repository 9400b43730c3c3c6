//! The page for a terminal: no line wider than it, and nothing in it that it would act on.

mod picture;
mod table;

use anstyle::{AnsiColor, Style};

use super::{document::Document, model::Report, pages};
use crate::{
    page::{Block, Item, Line, More, Page, Section, Tally, Tone},
    words::{TIE, clean, count, fit, tie, width, wrap},
};

pub(super) use table::row;

/// How to write the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// Rows of the long tables.
    pub top: usize,
    /// Columns of the terminal; fewer than 20 are taken as 20.
    pub width: usize,
    /// Terminal colours.
    pub colour: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        TextOptions { top: 10, width: 80, colour: false }
    }
}

/// Writes the report as text, no line of it wider than `options.width`.
pub fn render(report: &Report, options: &TextOptions) -> String {
    draw(&pages::report(report, options.top), options)
}

/// Writes the report of one server, or those of several: what ranks them, and then each, in that order.
pub fn document(document: &Document, options: &TextOptions) -> String {
    let all = match document {
        Document::One(report) => return render(report, options),
        Document::All(all) => all,
    };
    let mut first = pages::servers(&all.reports);
    for note in &all.notes {
        first.line(Line::text(note).indent(1).label("note:").wrap(3, 4));
    }
    let mut out = draw(&Page { sections: vec![first] }, options);
    let ranked = pages::ranked(&all.reports);
    for (at, report) in ranked.iter().enumerate() {
        let heading = Section::new(format!("SERVER {} OF {}", at + 1, ranked.len()));
        out.push('\n');
        out += &draw(&Page { sections: vec![heading] }, options);
        out += &render(report, options);
    }
    out
}

/// Writes a page as text; its rows are as many as it has.
pub fn draw(page: &Page, options: &TextOptions) -> String {
    let mut sheet = Sheet { width: options.width.max(20), colour: options.colour, out: String::new() };
    page.sections.iter().for_each(|section| sheet.section(section));
    sheet.out
}

/// The text so far.
struct Sheet {
    width: usize,
    colour: bool,
    out: String,
}

impl Sheet {
    fn section(&mut self, section: &Section) {
        if !self.out.is_empty() {
            self.blank();
        }
        if !section.heading.is_empty() {
            self.styled(Tone::Strong, &section.heading);
        }
        section.blocks.iter().for_each(|block| self.block(block));
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Line(line) => self.line(line),
            Block::Table(table) => {
                let lines = table::lines(table, self.width);
                for (at, line) in lines.iter().enumerate() {
                    self.styled(if at == 0 { Tone::Strong } else { Tone::Plain }, line);
                }
            }
            Block::Entries { entries, spaced } => {
                for (at, entry) in entries.iter().enumerate() {
                    if *spaced && at > 0 {
                        self.blank();
                    }
                    self.line(&entry.title);
                    entry.lines.iter().for_each(|line| self.line(line));
                }
            }
            Block::Picture(picture) => {
                picture::lines(picture, self.width).iter().for_each(|line| self.styled(Tone::Plain, line));
            }
            Block::Tally(tally) => self.tally(tally),
            Block::More(More { count: left, of }) => {
                self.styled(Tone::Faint, &format!("… and {} more {of} (--top)", count(*left)));
            }
        }
    }

    fn blank(&mut self) {
        self.out.push('\n');
    }

    /// One line, its end cut off where it does not fit. The only way into `out`, hence where everything is made
    /// harmless.
    fn styled(&mut self, tone: Tone, text: &str) {
        let line = fit(&clean(text), self.width);
        let line = line.replace(TIE, " ");
        let line = line.trim_end();
        let style = if self.colour { style(tone) } else { Style::new() };
        self.out.push_str(&format!("{style}{line}{style:#}\n"));
    }

    fn line(&mut self, line: &Line) {
        let mut text = " ".repeat(line.indent);
        if !line.label.is_empty() {
            text += &line.label;
            text.push(' ');
            text += &" ".repeat(line.hang.saturating_sub(width(&text)));
        }
        let items: Vec<String> = line.items.iter().map(words).collect();
        text += &items.join("  ");
        for part in wrap(&clean(&text), self.width, line.hang, line.most) {
            self.styled(line.tone, &part);
        }
    }

    /// All that is not zero, then as many of the zeros as fit on the line.
    fn tally(&mut self, tally: &Tally) {
        let room = self.width.saturating_sub(32);
        let mut text = String::new();
        for (at, (what, n)) in tally.parts.iter().enumerate() {
            let one = format!("{}{what} {}", if at > 0 { ", " } else { "" }, count(*n));
            let left = tally.parts.len() - at - 1;
            if *n == 0 && at > 0 && width(&text) + width(&one) > room && left > 0 {
                text.push_str(&format!(", {} more 0", left + 1));
                break;
            }
            text.push_str(&one);
        }
        if text.is_empty() {
            text.push_str(tally.none);
        }
        let tone = if tally.total > 0 { Tone::Critical } else { Tone::Plain };
        self.styled(tone, &format!("{} {} ({text})", tally.label, count(tally.total)));
    }
}

/// How a tone looks.
fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Strong => Style::new().bold(),
        Tone::Faint => Style::new().dimmed(),
        Tone::Critical => AnsiColor::Red.on_default().bold(),
        Tone::Warning => AnsiColor::Yellow.on_default(),
    }
}

/// An item in words; a value is not torn from its name or its unit.
fn words(item: &Item) -> String {
    match item.name {
        "" => item.value.to_string(),
        name => tie(&format!("{name} {}", item.value)),
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
