//! Page faults that had to read from a disk: whose, for which statements, and how long they slept for it.

use crate::{
    page::{Cell, Section, Table},
    report::model::{Faults, Ledger, LedgerPart, Report, sum},
    vocabulary::Cause,
    words::{count, short},
};

pub(super) fn section(report: &Report, top: usize) -> Option<Section> {
    let (minor, major) = (
        sum(report.roles.iter().map(|role| role.faults.minor)),
        sum(report.roles.iter().map(|role| role.faults.major)),
    );
    if major == 0 {
        return None;
    }
    let mut section = Section::new(format!(
        "PAGE FAULTS: {} had to read from a disk (major), {} did not (minor)",
        count(major),
        count(minor)
    ));
    let mut table = Table::default()
        .number("MAJOR", 0)
        .number("MINOR", 0)
        .number("ASLEEP", 0)
        .number("EACH SLEEP", 3)
        .name("ROLE", 0)
        .main_text("STATEMENT");
    for role in report.roles.iter().filter(|role| role.faults.major > 0) {
        table.row(row(
            role.faults,
            &[&role.ledger, &role.outside, &role.startup_ledger],
            &role.role,
            Cell::text("(all)"),
        ));
    }
    let mut classes: Vec<_> = report.queries.iter().filter(|query| query.faults.major > 0).collect();
    classes.sort_by_key(|query| std::cmp::Reverse(query.faults.major));
    for query in classes.iter().take(top) {
        table.row(row(query.faults, &[&query.ledger, &query.workers], "", Cell::code(short(&query.query))));
    }
    section.table(table);
    section.more(classes.len(), top, "statement classes");
    Some(section)
}

fn row(faults: Faults, ledgers: &[&Ledger], role: &str, statement: Cell) -> Vec<Cell> {
    let is_fault = |part: &&LedgerPart| part.cause() == Some(Cause::MajorFault);
    let parts = || ledgers.iter().flat_map(|ledger| &ledger.parts).filter(is_fault);
    let (ns, sleeps) = (sum(parts().map(|part| part.ns)), sum(parts().map(|part| part.count)));
    vec![
        Cell::Count(faults.major),
        Cell::Count(faults.minor),
        Cell::or_missing(ns, Cell::Duration),
        Cell::mean(ns as f64 / sleeps as f64).when(sleeps > 0),
        Cell::name(role),
        statement,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::fixture, vocabulary::State};

    #[test]
    fn majors_are_shown_with_their_sleeps_and_minors_alone_are_not() {
        let mut report = fixture::busy();
        report.roles[0].faults = Faults { minor: 5_000, major: 0 };
        assert!(section(&report, 10).is_none());
        report.roles[0].faults.major = 30;
        report.queries[0].faults = Faults { minor: 4_000, major: 20 };
        let asleep = LedgerPart {
            state: State::Blocked.into(),
            cause: Some(Cause::MajorFault.into()),
            ns: 90_000_000,
            count: 18,
            ..LedgerPart::default()
        };
        report.queries[0].ledger.parts = vec![asleep];
        let cells = row(report.queries[0].faults, &[&report.queries[0].ledger], "", Cell::Blank);
        assert_eq!(
            cells[..4],
            [Cell::Count(20), Cell::Count(4_000), Cell::Duration(90_000_000), Cell::Duration(5_000_000)]
        );
        assert!(section(&report, 10).is_some());
    }
}
