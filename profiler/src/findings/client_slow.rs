//! Statements held up by a client, or a network, that takes its answer too slowly.

use super::rule::{Confidence, Found, Rule};
use super::time::{duration, in_waits, notable, of_ledger, percent, severity_of, waits, worst_statement};
use crate::report::model::{LedgerPart, Report};
use crate::words::bytes;

pub const RULE: Rule = Rule { id: "client_slow", about: is_client_write, symptom: false, find };

fn is_client_write(part: &LedgerPart) -> bool {
    waits(part, "Client", "ClientWrite")
}

fn find(report: &Report) -> Option<Found> {
    let cost = notable(report, is_client_write)?;
    let statements = &report.statements;
    let mut evidence = vec![in_waits(&cost, "wait") + " of Client:ClientWrite"];
    if statements.sent_bytes > 0 && statements.count > 0 {
        let each = bytes(statements.sent_bytes / statements.count);
        evidence.push(format!("{} sent, {each} per statement", bytes(statements.sent_bytes)));
    }
    evidence.extend(worst_client(report));
    evidence.extend(worst_statement(report, is_client_write));
    Some(Found {
        severity: severity_of(cost.share),
        confidence: Confidence::High,
        title: format!("{} of statement time is clients that do not read their results", percent(cost.share)),
        evidence,
        advice: "The server is ready, and the client or the network is not: look at the client named above (its CPU, \
                 what it does with each row) and at the network; ask for fewer rows or columns (LIMIT, a cursor with \
                 FETCH)."
            .into(),
        explained_ns: cost.ns,
    })
}

/// The backend whose client was waited for longest.
fn worst_client(report: &Report) -> Option<String> {
    let all = report.backends.iter().map(|backend| (of_ledger(&backend.ledger, is_client_write).ns, backend));
    let (ns, backend) = all.max_by_key(|one| one.0).filter(|one| one.0 > 0)?;
    let name = backend.application_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("without a name");
    let user = backend.user.as_deref().unwrap_or("not known");
    Some(format!("longest for the client of pid {}, {}: application {name}, user {user}", backend.pid, duration(ns)))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::report::model::Backend;

    #[test]
    fn writes_count_and_reads_do_not() {
        let mut report = testing::report(&[("cpu", "", 500), ("blocked", "Client:ClientWrite", 500)]);
        report.statements.sent_bytes = 1 << 30;
        let ledger = report.statements.ledger.clone();
        let name = Some("etl".into());
        report.backends = vec![Backend { pid: 77, application_name: name, ledger, ..Backend::default() }];
        let found = testing::find(&RULE, &report).unwrap();
        assert_eq!(found.evidence[1], "1.00 GiB sent, 1.02 MiB per statement");
        assert_eq!(found.evidence[2], "longest for the client of pid 77, 500 ms: application etl, user not known");
        let reads = testing::report(&[("cpu", "", 500), ("blocked", "Client:ClientRead", 500)]);
        assert_eq!(testing::find(&RULE, &reads), None);
    }
}
