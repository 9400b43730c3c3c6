//! Statements held up by a client, or a network, that takes its answer too slowly.

use super::{duration, notable, number, percent, severity_of, waits, worst_query_line};
use crate::report::model::{Finding, LedgerPart, Report};
use crate::report::text::format::bytes;

fn is_client_write(part: &LedgerPart) -> bool {
    waits(part, "Client", "ClientWrite")
}

pub fn rule(report: &Report) -> Option<Finding> {
    let cost = notable(report, is_client_write)?;
    let statements = &report.statements;
    let mut evidence = vec![format!("{} in {} waits of Client:ClientWrite", duration(cost.ns), number(cost.count))];
    if statements.sent_bytes > 0 && statements.count > 0 {
        let each = bytes(statements.sent_bytes / statements.count);
        evidence.push(format!("{} sent, {each} per statement", bytes(statements.sent_bytes)));
    }
    evidence.extend(worst_query_line(report, is_client_write));
    Some(Finding {
        id: "client_slow".into(),
        severity: severity_of(cost.share),
        title: format!("{} of statement time is clients not taking their answers", percent(cost.share)),
        evidence,
        advice: "The server is ready and the client or the network is not: ask for fewer rows or columns (LIMIT, a \
                 cursor with FETCH), and look at the CPU of the client's host and the network between."
            .into(),
        explained_ns: cost.ns,
        confidence: "high".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn writes_count_and_reads_do_not() {
        let mut report = testing::report(&[("cpu", "", 500), ("blocked", "Client:ClientWrite", 500)]);
        report.statements.sent_bytes = 1 << 30;
        let found = rule(&report).unwrap();
        assert_eq!(found.evidence[1], "1.00 GiB sent, 1.02 MiB per statement");
        assert_eq!(rule(&testing::report(&[("cpu", "", 500), ("blocked", "Client:ClientRead", 500)])), None);
    }
}
