//! Tables of reads and writes by file kind, relation and statement class: each says what the page cache did not have.

use crate::report::{
    model::{ClassIo, FileBy, FileIo, Query, RelationIo, Report},
    text::{
        Page,
        format::{bytes, count, duration, short},
        table::Table,
    },
};

/// Roles and kinds that are shown.
const ROWS: usize = 12;

pub(super) fn render(report: &Report, page: &mut Page) {
    by_kind(&report.storage.files.by, page);
    by_relation(&report.storage.files.relations, page);
    by_statement(&report.queries, page);
}

/// A number, empty where it is zero.
fn some(n: u64, show: impl Fn(u64) -> String) -> String {
    if n == 0 { String::new() } else { show(n) }
}

/// The mean of `ns` over `n`.
fn each(ns: u64, n: u64) -> String {
    ns.checked_div(n).map(duration).unwrap_or_default()
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

/// The cells of [`columns`]. The cost of a read is told apart by where it ended.
fn cells(io: &FileIo) -> Vec<String> {
    vec![
        some(io.reads, count),
        some(io.read_bytes, bytes),
        some(io.device_read_bytes, bytes),
        each(io.read_ns.saturating_sub(io.device_read_ns), io.reads.saturating_sub(io.device_reads)),
        each(io.device_read_ns, io.device_reads),
        some(io.read_ns, duration),
        some(io.writes, count),
        some(io.write_bytes, bytes),
        some(io.write_ns, duration),
        some(io.extend_bytes, bytes),
        some(io.truncate_bytes, bytes),
        some(io.read_before_write_bytes, bytes),
        some(io.failed, count),
    ]
}

fn row(names: &[&str], io: &FileIo) -> Vec<String> {
    names.iter().map(|name| name.to_string()).chain(cells(io)).collect()
}

fn time(io: &FileIo) -> u64 {
    io.read_ns + io.write_ns
}

fn by_kind(by: &[FileBy], page: &mut Page) {
    let mut groups: Vec<(&str, &str, FileIo)> = Vec::new();
    for one in by {
        match groups.iter_mut().find(|(role, kind, _)| *role == one.role && *kind == one.file_kind) {
            Some((.., io)) => io.add(&one.io),
            None => groups.push((&one.role, &one.file_kind, one.io)),
        }
    }
    if groups.is_empty() {
        return;
    }
    groups.sort_by_key(|(.., io)| std::cmp::Reverse((time(io), io.reads + io.writes)));
    page.heading("READS AND WRITES OF FILES");
    let mut table = columns(Table::new().name("KIND", 0).name("BY", 0));
    groups.iter().take(ROWS).for_each(|(role, kind, io)| table.row(row(&[kind, role], io)));
    page.table(&table);
    page.more(groups.len().saturating_sub(ROWS), "roles and kinds");
}

/// `public.orders`, or the numbers in its path where the name is not known.
pub(crate) fn relation_name(relation: &RelationIo) -> String {
    let name = relation.name.clone().unwrap_or_else(|| {
        let database = relation.database.map_or("shared".into(), |oid| format!("database {oid}"));
        let temporary = if relation.temporary { " (temporary)" } else { "" };
        format!("{database}, relfilenode {}{temporary}", relation.relfilenode)
    });
    if relation.fork == "main" { name } else { format!("{name} ({})", relation.fork) }
}

fn by_relation(relations: &[RelationIo], page: &mut Page) {
    if relations.is_empty() {
        return;
    }
    page.heading("RELATIONS READ AND WRITTEN");
    let mut table = columns(Table::new().main_path("RELATION").number("SIZE", 5));
    for relation in relations.iter().take(page.top) {
        let size = relation.size_bytes.map(bytes).unwrap_or_default();
        table.row(row(&[&relation_name(relation), &size], &relation.io));
    }
    page.table(&table);
    page.more(relations.len().saturating_sub(page.top), "relations");
}

fn by_statement(queries: &[Query], page: &mut Page) {
    let whole = |query: &Query| {
        let sum = |io: &ClassIo| io.read_bytes + io.write_bytes;
        sum(&query.io.relation) + sum(&query.io.temp) + sum(&query.io.wal) + sum(&query.io.other)
    };
    let mut queries: Vec<&Query> = queries.iter().filter(|query| whole(query) > 0).collect();
    if queries.is_empty() {
        return;
    }
    queries.sort_by_key(|query| std::cmp::Reverse(whole(query)));
    page.heading("STATEMENTS BY WHAT THEY READ AND WROTE");
    let mut table = Table::new()
        .number("CALLS", 4)
        .number("READ", 0)
        .number("DEVICE", 0)
        .number("WRITTEN", 3)
        .number("TEMP READ", 5)
        .number("TEMP WRITTEN", 0)
        .number("TEMP SIZE", 6)
        .number("WAL", 2)
        .main_text("QUERY");
    for query in queries.iter().take(page.top) {
        let io = &query.io;
        table.row(vec![
            count(query.calls),
            some(io.relation.read_bytes, bytes),
            some(io.relation.device_read_bytes, bytes),
            some(io.relation.write_bytes, bytes),
            some(io.temp.read_bytes, bytes),
            some(io.temp.write_bytes, bytes),
            some(io.temp.extend_bytes, bytes),
            some(io.wal.write_bytes, bytes),
            short(&query.query),
        ]);
    }
    page.table(&table);
    page.more(queries.len().saturating_sub(page.top), "classes");
}
