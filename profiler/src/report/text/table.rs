//! Tables that keep to the width: columns of less importance go first, then the widest text shrinks.

use super::format::{clean, fit, fit_end, width};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

struct Column {
    title: &'static str,
    align: Align,
    /// 0 stays always; of the others the highest is left out first.
    leave: u8,
    /// May be shortened.
    flexible: bool,
    /// And then at its start.
    path: bool,
    /// Columns below which it is not shortened before others are left out.
    least: usize,
}

/// Rows of text under titles.
#[derive(Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    indent: usize,
}

/// The least a shortened text may have before another column is left out for it.
const LEAST: usize = 16;

impl Table {
    pub fn new() -> Self {
        Table { indent: 1, ..Table::default() }
    }

    /// A column of numbers.
    pub fn number(mut self, title: &'static str, leave: u8) -> Self {
        self.columns.push(Column { title, align: Align::Right, leave, flexible: false, path: false, least: LEAST });
        self
    }

    /// A column of short names.
    pub fn name(mut self, title: &'static str, leave: u8) -> Self {
        self.columns.push(Column { title, align: Align::Left, leave, flexible: false, path: false, least: LEAST });
        self
    }

    /// A column of long text, which takes what is left.
    pub fn text(mut self, title: &'static str, leave: u8) -> Self {
        self.columns.push(Column { title, align: Align::Left, leave, flexible: true, path: false, least: LEAST });
        self
    }

    /// A column of long text that matters more than the columns which may be left out.
    pub fn main_text(mut self, title: &'static str) -> Self {
        self.columns.push(Column { title, align: Align::Left, leave: 0, flexible: true, path: false, least: 32 });
        self
    }

    /// A column of file names, of which the ends stay.
    pub fn path(mut self, title: &'static str, leave: u8) -> Self {
        self.columns.push(Column { title, align: Align::Left, leave, flexible: true, path: true, least: LEAST });
        self
    }

    /// Names that matter more than the columns which may be left out; of longer ones the ends stay.
    pub fn main_path(mut self, title: &'static str) -> Self {
        self.columns.push(Column { title, align: Align::Left, leave: 0, flexible: true, path: true, least: 32 });
        self
    }

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells.iter().map(|cell| clean(cell)).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The title line and the rows.
    pub fn render(&self, columns: usize) -> Vec<String> {
        let natural: Vec<usize> = (0..self.columns.len())
            .map(|c| {
                self.rows.iter().map(|row| width(&row[c])).chain([width(self.columns[c].title)]).max().unwrap_or(0)
            })
            .collect();
        let least =
            |c: usize| if self.columns[c].flexible { natural[c].min(self.columns[c].least) } else { natural[c] };
        let mut shown: Vec<usize> = (0..self.columns.len()).filter(|&c| !self.is_blank(c)).collect();
        let gaps = |shown: &[usize]| self.indent + 2 * shown.len().saturating_sub(1);
        while gaps(&shown) + shown.iter().map(|&c| least(c)).sum::<usize>() > columns {
            match shown.iter().copied().filter(|&c| self.columns[c].leave > 0).max_by_key(|&c| self.columns[c].leave) {
                Some(out) => shown.retain(|&c| c != out),
                None => break,
            }
        }
        let mut widths = natural;
        let total = gaps(&shown) + shown.iter().map(|&c| widths[c]).sum::<usize>();
        let mut over = total.saturating_sub(columns);
        let mut flexible: Vec<usize> = shown.iter().copied().filter(|&c| self.columns[c].flexible).collect();
        flexible.sort_by_key(|&c| std::cmp::Reverse(widths[c]));
        for c in flexible {
            let take = over.min(widths[c].saturating_sub(LEAST.min(widths[c])));
            widths[c] -= take;
            over -= take;
        }
        let line = |cell: &dyn Fn(usize) -> String| {
            let cells = shown.iter().map(|&c| {
                let text = if self.columns[c].path { fit_end(&cell(c), widths[c]) } else { fit(&cell(c), widths[c]) };
                let pad = " ".repeat(widths[c] - width(&text));
                if self.columns[c].align == Align::Left { text + &pad } else { pad + &text }
            });
            let line = " ".repeat(self.indent) + &cells.collect::<Vec<_>>().join("  ");
            line.trim_end().to_string()
        };
        let mut out = vec![line(&|c| self.columns[c].title.into())];
        out.extend(self.rows.iter().map(|row| line(&|c| row[c].clone())));
        out
    }

    /// A column in which no row says anything.
    fn is_blank(&self, column: usize) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| matches!(row[column].as_str(), "" | "-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_way_in_order() {
        let mut table = Table::new().number("CALLS", 0).number("MEAN", 2).number("P99", 1).text("QUERY", 0);
        table.row(vec![
            "12".into(),
            "1.00 ms".into(),
            "2.00 ms".into(),
            "SELECT a FROM a_table_with_a_long_name".into(),
        ]);
        assert_eq!(table.render(100)[1], "    12  1.00 ms  2.00 ms  SELECT a FROM a_table_with_a_long_name");
        assert_eq!(table.render(44)[1], "    12  1.00 ms  2.00 ms  SELECT a FROM a_t…");
        assert_eq!(table.render(36)[0], " CALLS      P99  QUERY");
        assert!(!table.render(22)[0].contains("P99"));
        for columns in 0..120 {
            assert_eq!(table.render(columns).len(), 2);
        }
    }
}
