//! Statements that sleep on purpose.

use super::rule::{Confidence, Found, Rule, Severity};
use super::time::{events, in_waits, listed, notable, percent, waits, worst_statement};
use crate::report::model::{LedgerPart, Report};

pub const RULE: Rule = Rule { id: "sleep", about: is_sleep, symptom: false, find };

/// pg_sleep, and the delays that VACUUM takes between its pages.
fn is_sleep(part: &LedgerPart) -> bool {
    waits(part, "Timeout", "PgSleep") || waits(part, "Timeout", "VacuumDelay")
}

fn find(report: &Report) -> Option<Found> {
    let cost = notable(report, is_sleep)?;
    let events = events(report, is_sleep);
    let mut evidence = vec![in_waits(&cost, "sleep"), listed(&events, 2)];
    evidence.extend(worst_statement(report, is_sleep));
    let vacuum = events.first().is_some_and(|(name, _)| name.to_ascii_lowercase().ends_with("vacuumdelay"));
    Some(Found {
        severity: Severity::Info,
        confidence: Confidence::High,
        title: format!("{} of statement time is sleeping on purpose", percent(cost.share)),
        evidence,
        advice: if vacuum {
            "VACUUM sleeps between its pages: vacuum_cost_delay and vacuum_cost_limit set how long; SET \
             vacuum_cost_delay = 0 for one that is waited for."
        } else {
            "The statement above calls pg_sleep: nothing in the server is slow. In a transaction it holds its locks \
             meanwhile; let the application sleep instead, outside of a transaction."
        }
        .into(),
        explained_ns: cost.ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, find};
    use super::*;

    #[test]
    fn sleeping_is_said_and_is_no_alarm() {
        let found = find(&RULE, &testing::report(&[("cpu", "", 100), ("blocked", "Timeout:PgSleep", 900)])).unwrap();
        assert_eq!(found.title, "90.0 % of statement time is sleeping on purpose");
        assert_eq!((found.severity, found.evidence[0].as_str()), (Severity::Info, "900 ms in 100 sleeps"));
        let vacuum = testing::report(&[("cpu", "", 100), ("blocked", "Timeout:VacuumDelay", 900)]);
        assert!(find(&RULE, &vacuum).unwrap().advice.contains("vacuum_cost_delay"));
        assert_eq!(find(&RULE, &testing::report(&[("cpu", "", 100), ("blocked", "Timeout:Other", 900)])), None);
    }
}
