//! Reads and writes by file kind, relation and statement class: each says what the page cache did not have.

use crate::{
    page::{Cell, Section, Table},
    report::{
        model::{ClassIo, FileBy, FileIo, Query, RelationIo, Report, sum},
        phrases::files::relation_name,
    },
    words::short,
};

/// Roles and kinds that are shown.
const ROWS: usize = 12;

pub(super) fn sections(report: &Report, top: usize) -> impl Iterator<Item = Section> {
    let files = &report.storage.files;
    [by_kind(&files.by), by_relation(&files.relations, top), by_statement(&report.queries, top)].into_iter().flatten()
}

/// The mean of `ns` over `n`.
fn each(ns: u64, n: u64) -> Cell {
    ns.checked_div(n).map_or(Cell::Blank, Cell::Duration)
}

fn columns(table: Table) -> Table {
    table
        .number("READS", 6)
        .number("READ", 0)
        .number("DEVICE", 0)
        .number("CACHED", 7)
        .number("DEVICE EACH", 8)
        .number("READING", 2)
        .number("WRITES", 5)
        .number("WRITTEN", 0)
        .number("WRITING", 3)
        .number("EXTENDED", 4)
        .number("CUT", 9)
        .number("READ FIRST", 1)
        .number("FAILED", 1)
}

/// A row of `names` and the cells of [`columns`]. The cost of a read is told apart by where it ended.
fn row(names: [Cell; 2], io: &FileIo) -> Vec<Cell> {
    let cells = [
        Cell::or_blank(io.reads, Cell::Count),
        Cell::or_blank(io.read_bytes, Cell::Bytes),
        Cell::or_blank(io.device_read_bytes, Cell::Bytes),
        each(io.read_ns.saturating_sub(io.device_read_ns), io.reads.saturating_sub(io.device_reads)),
        each(io.device_read_ns, io.device_reads),
        Cell::or_blank(io.read_ns, Cell::Duration),
        Cell::or_blank(io.writes, Cell::Count),
        Cell::or_blank(io.write_bytes, Cell::Bytes),
        Cell::or_blank(io.write_ns, Cell::Duration),
        Cell::or_blank(io.extend_bytes, Cell::Bytes),
        Cell::or_blank(io.truncate_bytes, Cell::Bytes),
        Cell::or_blank(io.read_before_write_bytes, Cell::Bytes),
        Cell::or_blank(io.failed, Cell::Count),
    ];
    names.into_iter().chain(cells).collect()
}

fn by_kind(by: &[FileBy]) -> Option<Section> {
    let mut groups: Vec<(&str, &str, FileIo)> = Vec::new();
    for one in by {
        match groups.iter_mut().find(|(role, kind, _)| **role == *one.role && **kind == *one.file_kind) {
            Some((.., io)) => io.add(&one.io),
            None => groups.push((&one.role, &one.file_kind, one.io)),
        }
    }
    if groups.is_empty() {
        return None;
    }
    groups.sort_by_key(|(.., io)| std::cmp::Reverse((sum([io.read_ns, io.write_ns]), sum([io.reads, io.writes]))));
    let mut table = columns(Table::default().name("KIND", 0).name("BY", 0));
    for (role, kind, io) in groups.iter().take(ROWS) {
        table.row(row([Cell::name(*kind), Cell::name(*role)], io));
    }
    let mut section = Section::new("READS AND WRITES OF FILES");
    section.table(table);
    section.more(groups.len(), ROWS, "roles and kinds");
    Some(section)
}

fn by_relation(relations: &[RelationIo], top: usize) -> Option<Section> {
    if relations.is_empty() {
        return None;
    }
    let mut table = columns(Table::default().main_path("RELATION").number("SIZE", 5));
    for relation in relations.iter().take(top) {
        let size = relation.size_bytes.map_or(Cell::Blank, Cell::Bytes);
        table.row(row([Cell::name(relation_name(relation)), size], &relation.io));
    }
    let mut section = Section::new("RELATIONS READ AND WRITTEN");
    section.table(table);
    section.more(relations.len(), top, "relations");
    Some(section)
}

fn by_statement(queries: &[Query], top: usize) -> Option<Section> {
    let whole = |query: &Query| {
        let io = &query.io;
        let classes: [&ClassIo; 4] = [&io.relation, &io.temp, &io.wal, &io.other];
        sum(classes.into_iter().flat_map(|io| [io.read_bytes, io.write_bytes]))
    };
    let mut queries: Vec<&Query> = queries.iter().filter(|query| whole(query) > 0).collect();
    if queries.is_empty() {
        return None;
    }
    queries.sort_by_key(|query| std::cmp::Reverse(whole(query)));
    let mut table = Table::default()
        .number("CALLS", 4)
        .number("READ", 0)
        .number("DEVICE", 0)
        .number("WRITTEN", 3)
        .number("TEMP READ", 5)
        .number("TEMP WRITTEN", 0)
        .number("TEMP SIZE", 6)
        .number("WAL", 2)
        .main_text("QUERY");
    let size = |n| Cell::or_blank(n, Cell::Bytes);
    for query in queries.iter().take(top) {
        let io = &query.io;
        table.row(vec![
            Cell::Count(query.calls),
            size(io.relation.read_bytes),
            size(io.relation.device_read_bytes),
            size(io.relation.write_bytes),
            size(io.temp.read_bytes),
            size(io.temp.write_bytes),
            size(io.temp.extend_bytes),
            size(io.wal.write_bytes),
            Cell::code(short(&query.query)),
        ]);
    }
    let mut section = Section::new("STATEMENTS BY WHAT THEY READ AND WROTE");
    section.table(table);
    section.more(queries.len(), top, "classes");
    Some(section)
}
