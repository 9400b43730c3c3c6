//! Tables that keep to the width: columns of less importance go first, then the widest text shrinks.

use crate::{
    page::{Align, Column, Cut, Table},
    words::{clean, fit, fit_end, width},
};

/// Columns before the first cell, and between two.
const INDENT: usize = 1;
const GAP: usize = 2;
/// Columns by which what a row is made of stands further in.
const LEVEL: usize = 2;
/// The least that a value is cut to.
const LEAST: usize = 16;

/// The line of the headings and those of the rows.
pub(super) fn lines(table: &Table, columns: usize) -> Vec<String> {
    let rows = words(table);
    let natural: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(c, column)| rows.iter().map(|row| width(&row[c])).chain([width(column.heading)]).max().unwrap_or(0))
        .collect();
    let shown = shown(table, &natural, columns);
    let widths = widths(table, natural, &shown, columns);
    let line = |words: &[String]| {
        let cells = shown.iter().map(|&c| padded(&table.columns[c], &words[c], widths[c]));
        let line = " ".repeat(INDENT) + &cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        line.trim_end().to_string()
    };
    let headings: Vec<String> = table.columns.iter().map(|column| column.heading.into()).collect();
    std::iter::once(line(&headings)).chain(rows.iter().map(|words| line(words))).collect()
}

/// One line of a table that is written as it comes, in columns of these widths: what may not be cut pushes aside what
/// follows.
pub fn row(table: &Table, words: &[String], widths: &[usize]) -> String {
    let columns = table.columns.iter().zip(words).zip(widths);
    let cells: Vec<String> = columns.map(|((column, words), &width)| padded(column, words, width)).collect();
    cells.join(&" ".repeat(GAP)).trim_end().to_string()
}

/// The words at their side of a column, cut as it may be.
fn padded(column: &Column, words: &str, columns: usize) -> String {
    let text = match column.cut {
        Cut::Start => fit_end(words, columns),
        Cut::End => fit(words, columns),
        Cut::Never => words.into(),
    };
    let pad = " ".repeat(columns.saturating_sub(width(&text)));
    if column.align == Align::Left { text + &pad } else { pad + &text }
}

/// What stands in the cells.
fn words(table: &Table) -> Vec<Vec<String>> {
    let one = |row: &crate::page::Row| {
        let mut words: Vec<String> = row.cells.iter().map(|cell| clean(&cell.to_string())).collect();
        if let Some(first) = words.first_mut() {
            first.insert_str(0, &" ".repeat(row.level * LEVEL));
        }
        words
    };
    table.rows.iter().map(one).collect()
}

/// Columns taken by `shown` columns of these widths.
fn total(shown: &[usize], width: impl Fn(usize) -> usize) -> usize {
    INDENT + GAP * shown.len().saturating_sub(1) + shown.iter().map(|&c| width(c)).sum::<usize>()
}

/// The columns that say something and for which there is room, by their number.
fn shown(table: &Table, natural: &[usize], columns: usize) -> Vec<usize> {
    let least = |c: usize| match table.columns[c].cut {
        Cut::Never => natural[c],
        Cut::Start | Cut::End => natural[c].min(table.columns[c].least),
    };
    let mut shown: Vec<usize> = (0..table.columns.len()).filter(|&c| !table.is_silent(c)).collect();
    while total(&shown, least) > columns {
        let leave = |c: &usize| table.columns[*c].leave;
        match shown.iter().copied().filter(|c| leave(c) > 0).max_by_key(leave) {
            Some(out) => shown.retain(|&c| c != out),
            None => break,
        }
    }
    shown
}

/// The widths of the columns: those that may be cut share what is missing, the widest first.
fn widths(table: &Table, natural: Vec<usize>, shown: &[usize], columns: usize) -> Vec<usize> {
    let mut over = total(shown, |c| natural[c]).saturating_sub(columns);
    let mut widths = natural;
    let mut flexible: Vec<usize> = shown.iter().copied().filter(|&c| table.columns[c].cut != Cut::Never).collect();
    flexible.sort_by_key(|&c| std::cmp::Reverse(widths[c]));
    for c in flexible {
        let take = over.min(widths[c].saturating_sub(LEAST));
        widths[c] -= take;
        over -= take;
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Cell;

    #[test]
    fn gives_way_in_order() {
        let mut table = Table::default().number("CALLS", 0).number("MEAN", 2).number("P99", 1).text("QUERY", 0);
        table.row(vec![
            Cell::Count(12),
            Cell::Duration(1_000_000),
            Cell::Duration(2_000_000),
            Cell::code("SELECT a FROM a_table_with_a_long_name"),
        ]);
        assert_eq!(lines(&table, 100)[1], "    12  1.00 ms  2.00 ms  SELECT a FROM a_table_with_a_long_name");
        assert_eq!(lines(&table, 44)[1], "    12  1.00 ms  2.00 ms  SELECT a FROM a_t…");
        assert_eq!(lines(&table, 36)[0], " CALLS      P99  QUERY");
        assert!(!lines(&table, 22)[0].contains("P99"));
        for columns in 0..120 {
            assert_eq!(lines(&table, columns).len(), 2);
        }
    }

    #[test]
    fn what_a_row_is_made_of_stands_further_in_and_silent_columns_are_left_out() {
        let mut table = Table::default().name("WHEN", 0).number("CALLS", 0).name("WHY", 0);
        table.row(vec![Cell::text("during"), Cell::Count(3), Cell::Missing]);
        table.child(1, vec![Cell::text("writing"), Cell::Count(2), Cell::Blank]);
        assert_eq!(lines(&table, 80), [" WHEN       CALLS", " during         3", "   writing      2"]);
    }
}
