//! The report for a terminal.
//!
//! The first screen is the answer: how much ran and how fast, where its time went, what the rules found and what to do
//! about it, what is stuck, which statements it was, and what the profile lost and cost. The tables behind it follow: the
//! evidence, what makes slow statements slow, who was waited for, and the account of every class, role and backend.

mod accounts;
mod backends;
pub(crate) mod blocking;
mod coverage;
pub mod format;
mod fsync;
pub mod histogram;
pub(crate) mod memory;
pub(crate) mod parts;
mod slow;
mod statements;
pub(crate) mod storage;
mod summary;
mod table;

use super::model::Report;
pub(super) use storage::who;

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
    let mut page =
        Page { width: options.width.max(20), top: options.top.max(1), colour: options.colour, out: String::new() };
    summary::render(report, &mut page);
    coverage::findings(report, &mut page);
    slow::tail(report, &mut page);
    slow::slowest(report, &mut page);
    blocking::blocking(report, &mut page);
    statements::classes(report, &mut page);
    statements::unfinished(report, &mut page);
    statements::latency(report, &mut page);
    backends::roles(report, &mut page);
    backends::backends(report, &mut page);
    accounts::idle_in_transaction(report, &mut page);
    accounts::connections(report, &mut page);
    fsync::by_role(report, &mut page);
    fsync::files(report, &mut page);
    memory::render(report, &mut page);
    storage::render(report, &mut page);
    coverage::probes(report, &mut page);
    coverage::losses(report, &mut page);
    page.out
}

/// How far what was seen can be trusted, and what it cost.
pub(super) fn trust(report: &Report, options: &TextOptions) -> String {
    let mut page = Page { width: options.width.max(20), top: 1, colour: options.colour, out: String::new() };
    summary::lost(report, &mut page);
    summary::cost(report, &mut page);
    coverage::notes(report, &mut page);
    page.out
}

/// How a line looks where there are colours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Dim,
    Red,
    Yellow,
}

/// The text so far.
struct Page {
    width: usize,
    top: usize,
    colour: bool,
    out: String,
}

impl Page {
    fn blank(&mut self) {
        self.out.push('\n');
    }

    /// One line, its end cut off where it does not fit. The only way into `out`, hence where everything is made
    /// harmless.
    fn styled(&mut self, style: Style, text: &str) {
        let line = format::fit(&format::clean(text), self.width);
        let line = line.replace(format::TIE, " ");
        let line = line.trim_end();
        let code = match style {
            _ if !self.colour => None,
            Style::Plain => None,
            Style::Bold => Some("1"),
            Style::Dim => Some("2"),
            Style::Red => Some("1;31"),
            Style::Yellow => Some("33"),
        };
        match code {
            Some(code) => self.out.push_str(&format!("\x1b[{code}m{line}\x1b[0m\n")),
            None => {
                self.out.push_str(line);
                self.out.push('\n');
            }
        }
    }

    fn line(&mut self, text: &str) {
        self.styled(Style::Plain, text);
    }

    /// A line that goes on below, indented by `indent`, for at most `most` lines.
    fn wrapped(&mut self, style: Style, text: &str, indent: usize, most: usize) {
        for line in format::wrap(&format::clean(text), self.width, indent, most) {
            self.styled(style, &line);
        }
    }

    fn heading(&mut self, text: &str) {
        self.blank();
        self.styled(Style::Bold, text);
    }

    fn table(&mut self, table: &table::Table) {
        let lines = table.render(self.width);
        for (i, line) in lines.iter().enumerate() {
            self.styled(if i == 0 { Style::Bold } else { Style::Plain }, line);
        }
    }

    fn more(&mut self, left_out: usize, of_what: &str) {
        if left_out > 0 {
            self.styled(Style::Dim, &format!("… and {} more {of_what} (--top)", format::count(left_out as u64)));
        }
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
